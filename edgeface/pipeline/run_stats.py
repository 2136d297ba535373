"""What a run is doing, as plain numbers that other threads may read at any time, and what it did."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from edgeface.sources.base import Source
from edgeface.sources.frame_queue import Counters

STAGES = ("decode", "detect", "attributes", "track", "fuse", "sink")
_WINDOW = 10_000
"""Latest values that percentiles look at: a run of months must not fill the memory."""
_PAGE_BYTES = 4096


class Window:
    """Values in seconds: how many there were, their sum, and percentiles of the latest ones."""

    def __init__(self, length: int = _WINDOW) -> None:
        self.count, self.sum_s, self.largest_s = 0, 0.0, 0.0
        self._latest = np.full(length, np.nan)  # not a list that grows: flat memory is a promise

    def add(self, seconds: float) -> None:
        """Take one more value."""
        self._latest[self.count % len(self._latest)] = seconds
        self.count += 1
        self.sum_s += seconds
        self.largest_s = max(self.largest_s, seconds)

    def percentile(self, q: float) -> float:
        """The ``q``-th percentile (0…100) of the latest values; NaN without any."""
        values = self._latest[: self.count]
        return float(np.percentile(values, q)) if len(values) else float("nan")

    def summary_ms(self) -> dict[str, float]:
        """Mean over all, median and 95th percentile of the latest, in milliseconds."""
        mean_s = self.sum_s / max(1, self.count)
        return {"mean": 1e3 * mean_s, "p50": 1e3 * self.percentile(50), "p95": 1e3 * self.percentile(95)}


class RunStats:
    """Filled by ``runner.run`` as it goes.

    ``frames`` answered, ``faces`` in them, ``inferences`` faces that the attribute network saw; ``ages_s`` from a live
    frame's capture to its result; ``stages_s`` by stage, of ``STAGES``; ``sources`` in the order of the run.
    """

    def __init__(self) -> None:
        self.frames = self.faces = self.inferences = 0
        self.started_s = time.monotonic()
        self.ages_s = Window()
        self.stages_s = {name: Window() for name in STAGES}
        self.sources: Sequence[Source] = ()
        self._queue_depth: Callable[[], int] = lambda: 0

    def watch(self, sources: Sequence[Source], queue_depth: Callable[[], int]) -> None:
        """A run starts over ``sources``; ``queue_depth`` tells how many frames wait for the worker."""
        self.sources, self._queue_depth, self.started_s = sources, queue_depth, time.monotonic()

    def queue_depth(self) -> int:
        """Frames that wait for the worker."""
        return self._queue_depth()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside to a stage."""
        started = time.perf_counter()
        yield
        self.stages_s[name].add(time.perf_counter() - started)

    def stages_ms(self) -> dict[str, dict[str, float]]:
        """Every stage that ran: milliseconds a frame."""
        return {name: laps.summary_ms() for name, laps in self.stages_s.items() if laps.count}

    def line(self, since: StatsMark, counts_only: bool = False) -> str:
        """One line for people: rates since ``since``, ages, drops, memory, and each live source's state.

        ``counts_only`` leaves out what tells of people.
        """
        now = StatsMark.of(self)
        fps = (now.frames - since.frames) / max(1e-9, now.at_s - since.at_s)
        parts = [f"{fps:.1f} frames/s"]
        if self.ages_s.count:
            p50, p99 = (1e3 * self.ages_s.percentile(q) for q in (50, 99))
            parts.append(f"age p50 {p50:.0f} ms p99 {p99:.0f} ms")
        if not counts_only:
            parts.append(f"{now.faces - since.faces} faces")
        parts.append(f"memory {resident_bytes() / 1e6:.0f} MB")
        for source in self.sources:
            if source.live:
                c = source.counters
                lost = f"{c.dropped} dropped, {c.reconnects} reconnects, {c.stalls} stalls, {c.errors} errors"
                parts.append(f"{source.name} {source.state}: {c.frames} frames, {lost}")
        return "; ".join(parts)


@dataclass(frozen=True)
class StatsMark:
    """The counts at one moment, to tell rates from."""

    at_s: float
    frames: int
    faces: int

    @classmethod
    def of(cls, stats: RunStats) -> StatsMark:
        return cls(time.monotonic(), stats.frames, stats.faces)


@dataclass(frozen=True)
class SourceReport:
    """How one source ended: its name, state, counters, and one sentence for each part that could not be read."""

    name: str
    state: str
    counters: Counters
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Source) -> SourceReport:
        problems = tuple(str(problem) for problem in source.problems)
        return cls(source.name, source.state, dataclasses.replace(source.counters), problems)


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    ``tracks`` counts the people told apart; ``seconds`` of wall clock and ``fps`` frames a second over all stages;
    ``stages_ms`` milliseconds a frame per stage (decode, detect, attributes, track, fuse, sink) as mean, p50 and p95;
    ``problems`` one sentence for each part of a source that could not be read; ``interrupted`` by Ctrl-C; ``ages_ms``
    from the capture of live frames to their results, as p50, p95, p99 and max; ``inferences`` faces that the attribute
    network saw; ``sources`` how each of them ended.
    """

    frames: int
    faces: int
    tracks: int
    seconds: float
    stages_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    interrupted: bool = False
    ages_ms: Mapping[str, float] = field(default_factory=dict)
    inferences: int = 0
    sources: tuple[SourceReport, ...] = ()

    @property
    def fps(self) -> float:
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    @property
    def dropped(self) -> int:
        """Frames of live sources that were thrown away for newer ones."""
        return sum(source.counters.dropped for source in self.sources)

    @classmethod
    def of(cls, stats: RunStats, tracks: int, seconds: float, interrupted: bool) -> RunSummary:
        reports = tuple(SourceReport.of(source) for source in stats.sources)
        ages = stats.ages_s
        ages_ms = {f"p{q}": 1e3 * ages.percentile(q) for q in (50, 95, 99)} if ages.count else {}
        return cls(
            stats.frames,
            stats.faces,
            tracks,
            seconds,
            stats.stages_ms(),
            tuple(problem for report in reports for problem in report.problems),
            interrupted,
            {**ages_ms, "max": 1e3 * ages.largest_s} if ages.count else {},
            stats.inferences,
            reports,
        )


def resident_bytes() -> int:
    """Memory that this process holds now; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
