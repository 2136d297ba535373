"""Sources → detect → attributes → track → fuse → sinks: threads that decode, one that works, one for each sink.

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

from edgeface.pipeline.face import FrameResult, faces_from
from edgeface.pipeline.fuse import Fuser
from edgeface.pipeline.mailbox import Inbox, Slot
from edgeface.pipeline.runner_stats import RunStats, RunSummary
from edgeface.pipeline.sink import Sink
from edgeface.pipeline.sink_bounded import BoundedSink
from edgeface.pipeline.source import Source
from edgeface.pipeline.track import Tracker
from edgeface.spec import ModelSpec
from edgeface.types import Attributes, Faces, Frame, Image

Progress = Callable[[int, int | None], None]
"""Called after every frame with how many are done and how many there will be (``None``: unknown)."""

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
    while limits.max_frames is None or stats.frames < limits.max_frames:
        taken = inbox.take(limits.stop)
        if taken is None:
            return
        result = lanes[taken.slot].answer(taken.frame)
        with stats.stage("sink"):
            for outlet in outlets:
                outlet.append(result)
        stats.frames += 1
        stats.faces += len(result.faces)
        if taken.frame.captured_s is not None:
            stats.ages_s.add(time.monotonic() - taken.frame.captured_s)
        limits.report(stats.frames)


class _Lane:
    """One source's way through the stages, with what remembers its people."""

    def __init__(self, analyzer: Analyzer, tracker: Tracker | None, fuser: Fuser | None, stats: RunStats) -> None:
        self._analyzer, self._tracker, self._fuser, self._stats = analyzer, tracker, fuser, stats

    @property
    def tracks(self) -> int:
        return self._tracker.count if self._tracker else 0

    def answer(self, frame: Frame) -> FrameResult:
        """The frame's faces."""
        stats, analyzer = self._stats, self._analyzer
        with stats.stage("detect"):
            faces = analyzer.detector(frame.pixels)
        if self._tracker is None:
            return FrameResult(frame, tuple(faces_from(faces, self._attributes(frame, faces), analyzer.spec)))
        with stats.stage("track"):
            tracks = self._tracker(faces, frame.pts_s)
        if self._fuser is None or frame.pts_s is None:  # pictures do not follow each other
            attributes = self._attributes(frame, faces)
        else:
            with stats.stage("fuse"):
                plan = self._fuser.plan(frame, faces, tracks)
            # the very same object where all are due: an analyzer of one pass insists on it
            looked = self._attributes(frame, faces if plan.due.all() else faces[plan.due])
            with stats.stage("fuse"):
                attributes = self._fuser.fuse(plan, looked)
        return FrameResult(frame, tuple(faces_from(faces, attributes, analyzer.spec, tracks)))

    def _attributes(self, frame: Frame, faces: Faces) -> Attributes:
        with self._stats.stage("attributes"):
            self._stats.inferences += len(faces)
            return self._analyzer.attributes(frame.pixels, faces)


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
        """Hand over one source's frames; ``False`` once nobody wants any."""
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
