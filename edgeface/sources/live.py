"""A source that lives: it connects, falls silent, breaks, and is connected again until it is closed or given up."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple, Protocol

from edgeface.errors import EdgefaceError, SourceError
from edgeface.sources.base import SourceOptions
from edgeface.sources.frame_queue import Counters, Inbox
from edgeface.sources.timeline import Timeline
from edgeface.types import Frame, Image

STATES = ("connecting", "live", "stalled", "reconnecting", "ended", "failed")
_JITTER_FRAC = 0.2
"""Pauses are shorter by up to this much, so that all cameras behind one switch do not come back at once."""
_JOIN_S = 1.0

log = logging.getLogger("edgeface.live")


class StallError(SourceError):
    """A connection that is open but gives no frames."""


class CapturedFrame(NamedTuple):
    """An image as a connection gives it: its stated time in seconds (``None``: none) and when it was taken by ours."""

    pixels: Image
    stated_s: float | None
    captured_s: float


class Connection(Protocol):
    """An open stream. ``finite``: its end is the end, not a fault. ``interrupt`` may come from another thread."""

    finite: bool

    def shots(self) -> Iterator[CapturedFrame]:
        """Images as they come. Raises ``SourceError`` where the stream breaks, ``StallError`` where it is silent."""
        ...

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


class LiveSource:
    """Frames of what ``connect`` opens, through all its breaks.

    ``connect`` takes the counters to report to and raises ``SourceError`` for an attempt that failed. Iterating gives
    the newest frame each time, decoded by a thread of its own; ``read`` gives every one. ``pts_s`` grows strictly, over
    new connections and clocks that are set as well. Log lines go to the logger ``edgeface.live``.
    """

    live = True
    frame_count: int | None = None

    def __init__(self, name: str, connect: Callable[[Counters], Connection], options: SourceOptions) -> None:
        self.name = name
        self.problems: list[EdgefaceError] = []
        self.counters = Counters()
        self._connect, self._options = connect, options
        self._state = "connecting"
        self._closed = threading.Event()
        self._timeline = Timeline()
        self._connection: Connection | None = None
        self._reader: threading.Thread | None = None
        self._heard_s = time.monotonic()
        self._chance = random.Random(name)

    @property
    def state(self) -> str:
        """One of ``STATES``."""
        silent = time.monotonic() - self._heard_s > self._options.stall_s
        return "stalled" if silent and self._state == "live" else self._state

    def read(self) -> Generator[Frame, None, None]:
        """Every frame, in the thread that asks, until ``close``, the end of a finite stream, or giving up."""
        self._heard_s = time.monotonic()
        try:
            yield from self._connections()
        finally:
            if self._state not in ("ended", "failed"):
                self._become("ended", "closed")

    def __iter__(self) -> Iterator[Frame]:
        """The newest frame whenever one is asked for; older ones are dropped and counted."""
        inbox = Inbox()
        slot = inbox.open(self.counters, newest=True)
        failure: list[BaseException] = []

        def fill() -> None:
            try:
                for frame in self.read():
                    if not slot.put(frame):
                        return
            except BaseException as error:  # raised again where the frames are taken
                failure.append(error)
            finally:
                slot.close()

        self._reader = threading.Thread(target=fill, name=f"edgeface {self.name}", daemon=True)
        self._reader.start()
        try:
            while taken := inbox.take():
                yield taken.frame
            if failure:
                raise failure[0]
        finally:
            inbox.stop()
            self.close()

    def close(self) -> None:
        """End ``read`` from whichever thread; closing twice is harmless. Anyone who reads closes the connection."""
        self._closed.set()
        if connection := self._connection:
            connection.interrupt()
        if self._reader and self._reader is not threading.current_thread():
            self._reader.join(_JOIN_S)  # a demuxer that hangs ends by itself after its time limit

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _connections(self) -> Iterator[Frame]:
        """The frames of one connection after the other, with pauses."""
        pause_s = self._options.backoff_s[0]
        while not self._closed.is_set():
            before = self.counters.frames
            try:
                yield from self._one_connection()
                return
            except SourceError as error:
                self._count(error)
                if self.counters.frames > before:
                    pause_s = self._options.backoff_s[0]
                if self._closed.is_set() or self._given_up(error):
                    return
                self._pause(pause_s, error)
                pause_s = min(2 * pause_s, self._options.backoff_s[1])

    def _one_connection(self) -> Iterator[Frame]:
        """The frames of one connection; returns at the wished-for end, else raises ``SourceError``."""
        connection = self._connection = self._connect(self.counters)
        try:
            for shot in connection.shots():
                yield self._arrived(shot)
                if self._closed.is_set():
                    break
        finally:
            self._connection = None
            connection.close()
            self._timeline.restart()
        if self._closed.is_set():
            return
        if not connection.finite:
            raise SourceError("the stream ended")
        self._become("ended", "the stream is over")

    def _arrived(self, shot: CapturedFrame) -> Frame:
        self._heard_s = time.monotonic()
        if self._state != "live":
            self.counters.reconnects += self._state == "reconnecting"
            self._become("live", f"{shot.pixels.shape[1]}x{shot.pixels.shape[0]}")
        pts_s = self._timeline(shot.stated_s, self._heard_s)
        frame = Frame(shot.pixels, pts_s, self.name, self.counters.frames, shot.captured_s)
        self.counters.frames += 1
        return frame

    def _count(self, error: SourceError) -> None:
        if isinstance(error, StallError):
            self.counters.stalls += 1
        else:
            self.counters.errors += 1

    def _given_up(self, error: SourceError) -> bool:
        limit_s = self._options.give_up_s
        if limit_s is None or time.monotonic() - self._heard_s < limit_s:
            return False
        seen = f"after {self.counters.frames} frames" if self.counters.frames else "without a single frame"
        self.problems.append(SourceError(f"`{self.name}` failed {seen}, given up after {limit_s:g} s: {error}"))
        self._become("failed", str(error))
        return True

    def _pause(self, pause_s: float, error: SourceError) -> None:
        """Wait before the next attempt; a first connection that was never there stays "connecting"."""
        pause_s *= 1 - _JITTER_FRAC * self._chance.random()
        state = "reconnecting" if self.counters.frames else "connecting"
        self._become(state, f"{error}; next attempt in {pause_s:.1f} s")
        self._closed.wait(pause_s)

    def _become(self, state: str, why: str) -> None:
        level = logging.ERROR if state == "failed" else logging.WARNING if state == "reconnecting" else logging.INFO
        self._state = state
        log.log(level, "%s: %s: %s", self.name, state, why, extra={"source": self.name, "state": state})
