"""Source → detect → attributes → track → sinks, one frame after the other."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np

from edgeface.pipeline.face import FrameResult, faces_from
from edgeface.pipeline.sink import Sink
from edgeface.pipeline.source import Source
from edgeface.pipeline.track import IouTracker
from edgeface.spec import ModelSpec
from edgeface.types import Attributes, Faces, Frame, Image

Progress = Callable[[int, int | None], None]
"""Called after every frame with how many are done and how many there will be (``None``: unknown)."""


class Analyzer(Protocol):
    """What ``run`` needs of an analyzer; ``api.FaceAnalyzer`` is one."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def detector(self) -> Callable[[Image], Faces]: ...

    @property
    def attributes(self) -> Callable[[Image, Faces], Attributes]: ...


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    ``tracks`` counts the people told apart; ``seconds`` of wall clock and ``fps`` frames a second over all stages;
    ``stages_ms`` milliseconds a frame per stage (decode, detect, attributes, track, sink) as mean, p50 and p95;
    ``problems`` one sentence for each part of the source that could not be read; ``interrupted`` by Ctrl-C.
    """

    frames: int
    faces: int
    tracks: int
    seconds: float
    stages_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def fps(self) -> float:
        return self.frames / self.seconds if self.seconds > 0 else 0.0


def run(
    source: Source,
    analyzer: Analyzer,
    tracker: IouTracker | None = None,
    sinks: Sequence[Sink] = (),
    max_frames: int | None = None,
    on_progress: Progress | None = None,
) -> RunSummary:
    """Answer every frame of ``source`` in order and hand the results to ``sinks``.

    Without a ``tracker`` faces have no numbers. ``max_frames`` ends early. Sinks are closed in any case: after Ctrl-C,
    which gives the summary so far, and after an error (a ``SinkError`` of one closes the others whole).
    """
    stages = _Stopwatch()
    counted = _Counts()
    started = time.perf_counter()
    with ExitStack() as stack:
        for sink in sinks:
            stack.enter_context(sink)
        try:
            for frame in islice(stages.timed("decode", iter(source)), max_frames):
                result = _answer(frame, analyzer, tracker, stages)
                with stages.stage("sink"):
                    for sink in sinks:
                        sink.append(result)
                counted.add(result)
                if on_progress:
                    on_progress(counted.frames, source.frame_count)
        except KeyboardInterrupt:
            counted.interrupted = True
    return RunSummary(
        counted.frames,
        counted.faces,
        tracker.count if tracker else 0,
        time.perf_counter() - started,
        stages.summary(),
        tuple(str(problem) for problem in source.problems),
        counted.interrupted,
    )


def _answer(frame: Frame, analyzer: Analyzer, tracker: IouTracker | None, stages: _Stopwatch) -> FrameResult:
    with stages.stage("detect"):
        faces = analyzer.detector(frame.pixels)
    with stages.stage("attributes"):
        attributes = analyzer.attributes(frame.pixels, faces)
    with stages.stage("track"):
        tracks = tracker(faces) if tracker else None
    return FrameResult(frame, tuple(faces_from(faces, attributes, analyzer.spec, tracks)))


@dataclass
class _Counts:
    frames: int = 0
    faces: int = 0
    interrupted: bool = False

    def add(self, result: FrameResult) -> None:
        self.frames += 1
        self.faces += len(result.faces)


class _Stopwatch:
    """Seconds of every stage of every frame."""

    def __init__(self) -> None:
        self._laps: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._laps[name].append(time.perf_counter() - started)

    def timed(self, name: str, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The same frames, the wait for each counted as a lap of ``name``."""
        while True:
            started = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                return
            self._laps[name].append(time.perf_counter() - started)
            yield frame

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean, median and 95th percentile of every stage in milliseconds."""
        table = {}
        for name, laps in self._laps.items():
            p50, p95 = np.percentile(laps, [50, 95])
            table[name] = {"mean": 1e3 * float(np.mean(laps)), "p50": 1e3 * float(p50), "p95": 1e3 * float(p95)}
        return table
