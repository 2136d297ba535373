"""Sources → detect → attributes → track → fuse → sinks: threads that decode, one that works, one for each sink.

An analyzer that can answer several frames in one go is given one of each source that has one waiting.

Every queue is bounded. Files and their sinks wait for each other and lose nothing; cameras and live sinks keep the
newest and count what they lose. An error anywhere ends the run and is raised, after the sinks have closed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeface.inference.result import FrameResult, faces_from
from edgeface.pipeline.run_stats import RunStats, RunSummary
from edgeface.sinks.base import Sink
from edgeface.sinks.queue import BoundedSink
from edgeface.sources.base import Source
from edgeface.sources.frame_queue import Inbox, Slot, Taken
from edgeface.spec.model import ModelSpec
from edgeface.tracking.fusion import Fuser
from edgeface.tracking.iou import Tracker
from edgeface.types import Attributes, Faces, Frame, Image

Progress = Callable[[int, int | None], None]
"""Called after every frame with how many are done and how many there will be (``None``: unknown)."""

Look = Callable[[NDArray[np.bool_]], Attributes]
"""The attributes of the faces that a mask picks, in their order."""

_FILE_DEPTH = 4
"""Frames of a file that are decoded ahead of the worker."""
_JOIN_S = 2.0
"""How long a thread may take to end; one inside a demuxer that hangs is left behind and ends by its time limit."""


class Analyzer(Protocol):
    """What ``run`` needs of an analyzer; ``api.FaceAnalyzer`` is one."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def detector(self) -> Callable[[Image], Faces]: ...

    @property
    def attributes(self) -> Callable[[Image, Faces], Attributes]: ...


@runtime_checkable
class BatchAnalyzer(Analyzer, Protocol):
    """An analyzer that answers up to ``together`` images of any sizes in one go."""

    @property
    def together(self) -> int: ...

    def analyze_batch(self, frames: Sequence[Image]) -> list[tuple[Faces, Attributes]]: ...


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
    """Answer the frames of ``sources`` and hand the results to ``sinks``, those of one source in order.

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
    lanes = [_Lane(analyzer, tracker() if tracker else None, fuser() if fuser else None, stats) for _ in listed]
    started = time.perf_counter()
    interrupted = False
    with ExitStack() as stack:
        outlets = [stack.enter_context(_bounded(sink)) for sink in sinks]
        feeders = _feeders(listed, inbox, stats)
        try:
            for feeder in feeders:
                feeder.start()
            _work(inbox, lanes, outlets, stats, _Limits(listed, max_frames, on_progress, stop))
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


def _work(inbox: Inbox, lanes: list[_Lane], outlets: list[BoundedSink], stats: RunStats, limits: _Limits) -> None:
    """Answer frames until the sources are exhausted or a limit is reached."""
    most = lanes[0].together if lanes else 1
    while limits.max_frames is None or stats.frames < limits.max_frames:
        left = most if limits.max_frames is None else limits.max_frames - stats.frames
        taken = inbox.pop_batch(min(most, left), limits.stop)
        if not taken:
            return
        for one, result in zip(taken, _answered(lanes, taken, stats)):
            with stats.stage("sink"):
                for outlet in outlets:
                    outlet.append(result)
            stats.frames += 1
            stats.faces += len(result.faces)
            if one.frame.captured_s is not None:
                stats.ages_s.add(time.monotonic() - one.frame.captured_s)
            limits.report(stats.frames)


def _answered(lanes: list[_Lane], taken: list[Taken], stats: RunStats) -> list[FrameResult]:
    """The results of frames of different sources; of several, detecting and looking count to each in equal parts."""
    analyzer = lanes[taken[0].slot].analyzer
    if len(taken) == 1 or not isinstance(analyzer, BatchAnalyzer):
        return [lanes[one.slot].answer(one.frame) for one in taken]
    started = time.perf_counter()
    answers = analyzer.analyze_batch([one.frame.pixels for one in taken])
    share_s = (time.perf_counter() - started) / len(taken)
    results = []
    for one, (faces, attributes) in zip(taken, answers):
        stats.stages_s["detect"].add(share_s)
        stats.inferences += len(faces)
        results.append(lanes[one.slot].follow(one.frame, faces, attributes.__getitem__))
    return results


class _Lane:
    """One source's way through the stages, with what remembers its people."""

    def __init__(self, analyzer: Analyzer, tracker: Tracker | None, fuser: Fuser | None, stats: RunStats) -> None:
        self.analyzer, self._tracker, self._fuser, self._stats = analyzer, tracker, fuser, stats

    @property
    def tracks(self) -> int:
        return self._tracker.count if self._tracker else 0

    @property
    def together(self) -> int:
        """How many frames the analyzer answers in one go."""
        return self.analyzer.together if isinstance(self.analyzer, BatchAnalyzer) else 1

    def answer(self, frame: Frame) -> FrameResult:
        """The frame's faces."""
        with self._stats.stage("detect"):
            faces = self.analyzer.detector(frame.pixels)

        def look(due: NDArray[np.bool_]) -> Attributes:
            # the very same object where all are due: an analyzer of one pass insists on it
            asked = faces if due.all() else faces[due]
            with self._stats.stage("attributes"):
                self._stats.inferences += len(asked)
                return self.analyzer.attributes(frame.pixels, asked)

        return self.follow(frame, faces, look)

    def follow(self, frame: Frame, faces: Faces, look: Look) -> FrameResult:
        """The frame's ``faces``, tracked and fused; ``look`` gives the attributes of those that are due."""
        stats, spec, every = self._stats, self.analyzer.spec, np.full(len(faces), True)
        if self._tracker is None:
            return FrameResult(frame, tuple(faces_from(faces, look(every), spec)))
        with stats.stage("track"):
            tracks = self._tracker(faces, frame.pts_s)
        if self._fuser is None or frame.pts_s is None:  # images do not follow each other
            attributes = look(every)
        else:
            with stats.stage("fuse"):
                plan = self._fuser.plan(frame, faces, tracks)
            looked = look(plan.due)
            with stats.stage("fuse"):
                attributes = self._fuser.fuse(plan, looked)
        return FrameResult(frame, tuple(faces_from(faces, attributes, spec, tracks)))


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
    return BoundedSink(sink, policy="drop_oldest" if getattr(sink, "live", False) else "block")
