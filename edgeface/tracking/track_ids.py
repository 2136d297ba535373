"""Which number a followed face gets, and when: the same for every tracker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from edgeface.errors import ConfigError


class Numbered(Protocol):
    """A track: with how many faces it was seen, and its number (-1: none yet)."""

    hits: int
    number: int


class TrackIdAllocator:
    """Numbers from 1 up, given with a track's ``min_hits``-th face, in the first frame at once.

    So a detector's flicker takes none. Raises ``ConfigError`` for ``min_hits`` below 1.
    """

    def __init__(self, min_hits: int) -> None:
        if min_hits < 1:
            raise ConfigError(f"min_hits: expected 1 or more, found {min_hits}")
        self.min_hits = min_hits
        self.count = 0
        """Numbers given so far."""
        self._first_frame = True

    def assign(self, seen: Iterable[Numbered]) -> None:
        """Number those of a frame's tracks that have earned it."""
        for track in seen:
            if track.number < 0 and (self._first_frame or track.hits >= self.min_hits):
                self.count += 1
                track.number = self.count
        self._first_frame = False

    def restart(self) -> None:
        """The next frame is a first one; numbers go on from ``count``."""
        self._first_frame = True
