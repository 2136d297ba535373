"""Curves of whole runs: streams that are answered at once, and images that ``edgeface predict`` goes through."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.resources.scaling_fit import Curve
from benchmarks.studies.photographs import link
from benchmarks.studies.predict_process import PredictProcess
from edgeface.api import FaceAnalyzer
from edgeface.common.console import progress
from edgeface.errors import EdgefaceError
from edgeface.inference.result import FrameResult
from edgeface.pipeline.run_stats import RunStats
from edgeface.pipeline.runner import run
from edgeface.sinks.base import Sink
from edgeface.sources.frame_queue import Counters
from edgeface.types import Frame, Image

OFFERED_FPS = 400.0
"""Frames a second of all streams together: more than one worker answers, so that it never waits."""


class Replay:
    """A live source that shows decoded images over and over, ``fps`` a second: a camera whose decoding is free."""

    live = True
    frame_count: int | None = None
    state = "playing"

    def __init__(self, name: str, pictures: Sequence[Image], fps: float) -> None:
        self.name = name
        self.problems: list[EdgefaceError] = []
        self.counters = Counters()
        self._pictures, self._pause_s = pictures, 1 / fps
        self._closed = threading.Event()

    def read(self) -> Generator[Frame, None, None]:
        index = 0
        while not self._closed.wait(self._pause_s):
            now_s = time.monotonic()
            self.counters.frames += 1
            yield Frame(self._pictures[index % len(self._pictures)], index * self._pause_s, self.name, index, now_s)
            index += 1

    def __iter__(self) -> Iterator[Frame]:
        return self.read()

    def close(self) -> None:
        self._closed.set()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Tally(Sink):
    """Counts the answers of each stream."""

    name = "tally"

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()

    def append(self, result: FrameResult) -> None:
        self.answers[result.frame.source] += 1

    def close(self) -> None:
        """Nothing is open."""


def streams_curve(pictures: Sequence[Image], analyzer: FaceAnalyzer, counts: Sequence[int], rounds: int) -> Curve:
    """Frames a second over all streams, offered more than can be answered; rounds of all counts take turns."""
    frames = 20 * max(counts)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    ages_ms: dict[int, list[float]] = {count: [] for count in counts}
    fairness: dict[int, list[float]] = {count: [] for count in counts}
    with progress("streams") as report:
        for done in range(rounds * len(counts)):
            count = counts[done % len(counts)]
            sources = [Replay(f"stream {number}", pictures, OFFERED_FPS / count) for number in range(count)]
            tally, stats = Tally(), RunStats()
            summary = run(sources, analyzer, sinks=[tally], max_frames=frames, stats=stats)
            rates[count].append(summary.frames / summary.seconds)
            ages_ms[count].append(1e3 * stats.ages_s.percentile(50))
            fairness[count].append(min(tally.answers[source.name] for source in sources) * count / frames)
            report(done + 1, rounds * len(counts))
    return Curve(
        name="streams at once",
        x_label="live streams",
        y_label="frames a second, all streams",
        expected=0.0,
        why="one worker answers all streams in turn; a stream more costs a thread and a mailbox",
        x=tuple(map(float, counts)),
        y=tuple(float(np.median(rates[count])) for count in counts),
        notes={
            "median age of a frame, ms": [round(float(np.median(ages_ms[count])), 1) for count in counts],
            "least answered stream, of its share": [round(float(np.median(fairness[count])), 3) for count in counts],
        },
    )


def predict_curves(files: Sequence[Path], counts: Sequence[int], folder: Path) -> list[Curve]:
    """Seconds of ``edgeface predict`` after its first answer, and its peak memory, by number of images."""
    seconds, start_s, peaks_mb = [], [], []
    with progress("predict") as report:
        for done, count in enumerate(counts):
            shown = link(files[:count], folder / f"{count}")
            with PredictProcess(shown, 0) as predict:
                start_s.append(predict.answers(1)[0])
                seconds.append(predict.answers(count - 1)[0] * count / (count - 1))
                peaks_mb.append(predict.peak_mb())
                predict.finish()
            report(done + 1, len(counts))
    x = tuple(map(float, counts))
    label = "pictures"
    return [
        Curve(
            name="edgeface predict, time",
            x_label=label,
            y_label="seconds after the start",
            expected=1.0,
            why="every image is decoded and answered by itself",
            x=x,
            y=tuple(seconds),
            notes={"start, s": [round(value, 2) for value in start_s]},
        ),
        Curve(
            name="edgeface predict, memory",
            x_label=label,
            y_label="peak memory, MB",
            expected=0.0,
            why="three decoded images at most are held, and no answer is kept",
            x=x,
            y=tuple(peaks_mb),
        ),
    ]
