"""Sources → detect → track → attributes → fuse → sinks: threads that decode, one that works, one for each sink.

An analyzer that takes several frames in one call is given one of each source that has one waiting.

Every queue is bounded. Files and their sinks wait for each other and lose nothing; cameras and live sinks keep the
newest and count what they lose. An error anywhere ends the run and is raised, after the sinks have closed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ConfigError
from edgeface.inference.observation import Observation
from edgeface.inference.result import FrameResult, faces_from
from edgeface.pipeline.run_stats import RunStats, RunSummary
from edgeface.sinks.base import Sink
from edgeface.sinks.queue import BoundedSink
from edgeface.sources.base import Source
from edgeface.sources.frame_queue import Inbox, Slot
from edgeface.spec.model import ModelSpec
from edgeface.tracking.fusion import Fuser
from edgeface.tracking.iou import Tracker
from edgeface.tracking.shots import ShotDetector
from edgeface.types import Attributes, Faces, Frame, Image, Tracks

Progress = Callable[[int, int | None], None]
"""Called after every frame with how many are done and how many there will be (``None``: unknown)."""

_FILE_DEPTH = 4
"""Frames of a file that are decoded ahead of the worker."""
_JOIN_S = 2.0
"""How long a thread may take to end; one inside a demuxer that hangs is left behind and ends by its time limit."""


class Analyzer(Protocol):
    """What ``run`` needs of an analyzer; ``api.FaceAnalyzer`` and ``gpu.analyzer.GpuAnalyzer`` are two."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def batch_size(self) -> int:
        """How many images ``observe`` takes in one call."""
        ...

    def observe(self, images: Sequence[Image]) -> list[Observation]:
        """One observation for each image (uint8 ``[H, W, 3]`` RGB), in their order."""
        ...


def run(
    sources: Source | Sequence[Source],
    analyzer: Analyzer,
    tracker: Callable[[], Tracker] | None = None,
    sinks: Sequence[Sink] = (),
    max_frames: int | None = None,
    on_progress: Progress | None = None,
    *,
    fuser: Callable[[], Fuser] | None = None,
    stats: RunStats | None = None,
    stop: threading.Event | None = None,
) -> RunSummary:
    """Analyze the frames of ``sources`` and hand the results to ``sinks``, those of one source in order.

    Cameras run side by side, files one after the other. ``tracker`` and ``fuser`` make a new one for each source;
    without a tracker faces have no numbers, without a fuser every frame is answered by itself. ``max_frames`` ends
    early, as does ``stop``, from another thread. ``stats`` is filled on the way. Sinks are closed in any case: after
    Ctrl-C, which gives the summary so far, and after an error (a ``SinkError`` of one closes the others whole). Live
    sources are closed as well.
    """
    listed = list(sources) if isinstance(sources, Sequence) else [sources]
    stats = stats or RunStats()
    inbox = Inbox()
    stats.watch(listed, inbox.depth)
    lanes = [_Lane(analyzer.spec, tracker() if tracker else None, fuser() if fuser else None, stats) for _ in listed]
    started = time.perf_counter()
    interrupted = False
    with ExitStack() as stack:
        outlets = [stack.enter_context(_bounded(sink)) for sink in sinks]
        feeders = _feeders(listed, inbox, stats)
        try:
            for feeder in feeders:
                feeder.start()
            _work(inbox, analyzer, lanes, outlets, stats, _Limits(listed, max_frames, on_progress, stop))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            inbox.stop()
            for feeder in feeders:
                feeder.end()
        for feeder in feeders:
            feeder.check()
    seconds = time.perf_counter() - started
    return RunSummary.of(stats, sum(lane.tracks for lane in lanes), seconds, interrupted)


@dataclass(frozen=True)
class _Limits:
    """When a run ends before its sources do, and whom to tell how far it is."""

    sources: Sequence[Source]
    max_frames: int | None
    on_progress: Progress | None
    stop: threading.Event | None

    def report(self, done: int) -> None:
        if self.on_progress:
            counts = [source.frame_count for source in self.sources]
            self.on_progress(done, None if None in counts else sum(count or 0 for count in counts))


def _work(
    inbox: Inbox, analyzer: Analyzer, lanes: list[_Lane], outlets: list[BoundedSink], stats: RunStats, limits: _Limits
) -> None:
    """Every frame's way: wait, observe, track, attributes, fuse, emit; until the sources end or a limit is reached."""
    while limits.max_frames is None or stats.frames < limits.max_frames:
        left = analyzer.batch_size if limits.max_frames is None else limits.max_frames - stats.frames
        taken = inbox.pop_batch(min(analyzer.batch_size, left), limits.stop)
        if not taken:
            return
        started = time.perf_counter()
        observed = analyzer.observe([one.frame.pixels for one in taken])
        share_s = (time.perf_counter() - started) / len(taken)  # frames of one call count alike
        for one, observation in zip(taken, observed):
            stats.stages_s["detect"].add(share_s)
            _emit(lanes[one.slot].step(one.frame, observation), outlets, stats)
            limits.report(stats.frames)


def _emit(result: FrameResult, outlets: list[BoundedSink], stats: RunStats) -> None:
    with stats.stage("sink"):
        for outlet in outlets:
            outlet.append(result)
    stats.frames += 1
    stats.faces += len(result.faces)
    if result.frame.captured_s is not None:
        stats.ages_s.add(time.monotonic() - result.frame.captured_s)


class _Lane:
    """What follows one source's people through its frames; never shared between sources."""

    def __init__(self, spec: ModelSpec, tracker: Tracker | None, fuser: Fuser | None, stats: RunStats) -> None:
        self._spec, self._tracker, self._fuser, self._stats = spec, tracker, fuser, stats
        self._begins_shot = ShotDetector()

    @property
    def tracks(self) -> int:
        return self._tracker.count if self._tracker else 0

    def step(self, frame: Frame, seen: Observation) -> FrameResult:
        """The frame's result: faces tracked, attributes fused."""
        tracks = self._track(frame, seen.faces)
        attributes = self._attributes(frame, seen, tracks)
        return FrameResult(frame, tuple(faces_from(seen.faces, attributes, self._spec, tracks)))

    def _track(self, frame: Frame, faces: Faces) -> Tracks | None:
        if self._tracker is None or frame.pts_s is None:  # photographs do not follow each other
            return None
        with self._stats.stage("track"):
            if self._begins_shot(frame.pixels):
                self._tracker.forget()
            return self._tracker(faces, frame.pts_s)

    def _attributes(self, frame: Frame, seen: Observation, tracks: Tracks | None) -> Attributes:
        """Of every face: this frame's, or what the frames so far say together."""
        if self._fuser is None or tracks is None:
            return self._observed(seen, np.full(len(seen.faces), True))
        with self._stats.stage("fuse"):
            plan = self._fuser.plan(frame, seen.faces, tracks)
        observed = self._observed(seen, plan.due)
        with self._stats.stage("fuse"):
            return self._fuser.fuse(plan, observed)

    def _observed(self, seen: Observation, due: NDArray[np.bool_]) -> Attributes:
        with self._stats.stage("attributes"):
            self._stats.inferences += len(seen.faces) if seen.complete else int(due.sum())
            return seen.attributes(due)


def _feeders(sources: Sequence[Source], inbox: Inbox, stats: RunStats) -> list[_Feeder]:
    """A thread for each camera, and one that reads all files in turn."""
    files: list[tuple[Source, Slot]] = []
    feeders = []
    for source in sources:
        slot = inbox.open(source.counters, newest=source.live, depth=1 if source.live else _FILE_DEPTH)
        if source.live:
            feeders.append(_Feeder([(source, slot)], inbox, stats))
        else:
            files.append((source, slot))
    return [*feeders, *([_Feeder(files, inbox, stats)] if files else [])]


class _Feeder:
    """A thread that reads sources one after the other into their slots."""

    def __init__(self, jobs: list[tuple[Source, Slot]], inbox: Inbox, stats: RunStats) -> None:
        self._jobs, self._inbox, self._stats = jobs, inbox, stats
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._feed, name=f"edgeface {jobs[0][0].name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Wait for the thread; the inbox has been stopped."""
        for source, _ in self._jobs:
            if source.live:
                source.close()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def check(self) -> None:
        """Raise what ended the thread."""
        if self._failure is not None:
            raise self._failure

    def _feed(self) -> None:
        try:
            for source, slot in self._jobs:
                if not self._read(source, slot):
                    return
        except BaseException as error:  # raised by the thread that called ``run``
            self._failure = error
            self._inbox.stop()
        finally:
            for _, slot in self._jobs:
                slot.close()

    def _read(self, source: Source, slot: Slot) -> bool:
        """Hand over one source's frames; ``False`` once no one wants any."""
        with closing(source.read()) as frames:
            started = time.perf_counter()
            for frame in frames:
                if not source.live:
                    self._stats.stages_s["decode"].add(time.perf_counter() - started)
                if not slot.put(frame):
                    return False
                started = time.perf_counter()
        slot.close()
        return True


def _bounded(sink: Sink) -> BoundedSink:
    """``sink`` in a thread of its own; a live one loses its oldest results rather than hold up the others."""
    if isinstance(sink, BoundedSink):
        return sink
    if not isinstance(sink, Sink):
        raise ConfigError(f"sinks: expected objects of classes derived from edgeface.sinks.base.Sink, found {sink!r}")
    return BoundedSink(sink, policy="drop_oldest" if sink.live else "block")
