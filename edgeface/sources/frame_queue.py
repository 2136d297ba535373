"""Where frames wait for the worker: one slot a source, the newest frame of a camera or the next ones of a file.

A slot that keeps the newest frame never blocks its source, so that latency cannot grow; what it throws away is counted.
A slot that blocks loses nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from edgeface.types import Frame

_POLL_S = 0.1
"""Longest sleep before a wait looks at its stop event again."""


@dataclass
class Counters:
    """What happened at a source, as plain numbers that only grow.

    ``frames`` decoded, of which ``dropped`` were thrown away for newer ones; ``skipped`` packets not even decoded since
    the stream was late; ``reconnects`` after which frames came again; ``stalls`` (no frame for too long) and ``errors``
    (failed attempts to connect, broken connections, damaged frames).
    """

    frames: int = 0
    dropped: int = 0
    skipped: int = 0
    reconnects: int = 0
    stalls: int = 0
    errors: int = 0


class Taken(NamedTuple):
    """A frame and the number of the slot it came from."""

    slot: int
    frame: Frame


class Inbox:
    """The slots of all sources, emptied in turn by one worker."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.stopped = False
        self._slots: list[Slot] = []
        self._next = 0

    def open(self, counters: Counters, newest: bool, depth: int = 1) -> Slot:
        """A slot for one more source: ``newest`` throws the oldest frame away when full, else ``put`` waits."""
        slot = Slot(self, counters, newest, depth)
        with self.changed:
            self._slots.append(slot)
        return slot

    def take(self, stop: threading.Event | None = None) -> Taken | None:
        """The next frame, slot by slot; waits for one. ``None`` when all slots are closed and empty, or stopped."""
        return next(iter(self.pop_batch(1, stop)), None)

    def pop_batch(self, most: int, stop: threading.Event | None = None) -> list[Taken]:
        """Up to ``most`` frames of different slots; waits for one. Empty when ``take`` would give ``None``.

        The slots take turns: one whose frame was left waiting comes before those that were served.
        """
        with self.changed:
            while not self.stopped and not (stop and stop.is_set()):
                turns = [(self._next + step) % len(self._slots) for step in range(len(self._slots))]
                ready = [number for number in turns if self._slots[number].waiting][:most]
                if ready:
                    self._next = ready[-1] + 1
                    self.changed.notify_all()
                    return [Taken(number, self._slots[number].waiting.popleft()) for number in ready]
                if all(slot.closed for slot in self._slots):
                    return []
                self.changed.wait(_POLL_S)
        return []

    def depth(self) -> int:
        """How many frames wait."""
        with self.changed:
            return sum(len(slot.waiting) for slot in self._slots)

    def stop(self) -> None:
        """Wake everybody: ``take`` gives ``None`` and ``put`` ``False`` from now on.

        What waits of a camera counts as dropped.
        """
        with self.changed:
            self.stopped = True
            for slot in self._slots:
                slot.discard()
            self.changed.notify_all()


class Slot:
    """Frames of one source on their way to the worker."""

    def __init__(self, inbox: Inbox, counters: Counters, newest: bool, depth: int) -> None:
        self.waiting: deque[Frame] = deque()
        self.closed = False
        self._inbox, self._counters, self._newest, self._depth = inbox, counters, newest, depth

    def put(self, frame: Frame) -> bool:
        """Hand ``frame`` over; ``False`` when no one wants frames any more."""
        with self._inbox.changed:
            while not self._newest and len(self.waiting) >= self._depth and not self._inbox.stopped:
                self._inbox.changed.wait(_POLL_S)
            if self._inbox.stopped:
                self._counters.dropped += self._newest
                return False
            while len(self.waiting) >= self._depth:
                self.waiting.popleft()
                self._counters.dropped += 1
            self.waiting.append(frame)
            self._inbox.changed.notify_all()
            return True

    def discard(self) -> None:
        """Throw away what waits; the inbox holds the lock."""
        self._counters.dropped += len(self.waiting) if self._newest else 0
        self.waiting.clear()

    def close(self) -> None:
        """No more frames will come."""
        with self._inbox.changed:
            self.closed = True
            self._inbox.changed.notify_all()
