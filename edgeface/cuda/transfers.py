"""The copy ledger: what a frame moved between host and device and how often the host waited, counted, not claimed.

A copy inside a captured graph is written down once, when it is captured, and counted again with every launch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, MutableSequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from edgeface.errors import BackendError

H2D, D2H, D2D = "host_to_device", "device_to_host", "device_to_device"
WAIT, LAUNCH = "synchronisations", "graph_launches"
KINDS = (H2D, D2H, D2D, WAIT, LAUNCH)
_KEPT = 1024
"""Frames whose entries are kept; the totals go on."""


@dataclass(frozen=True)
class Entry:
    """One event: its ``kind`` (one of ``KINDS``), the ``stage`` it happened in, and the bytes it moved."""

    kind: str
    stage: str
    size: int = 0


@dataclass
class FrameCopies:
    """The events of one frame, or of frames that were answered together, in order."""

    entries: MutableSequence[Entry] = field(default_factory=list)
    pictures: int = 1

    def calls(self, kind: str, stage: str | None = None) -> int:
        return sum(entry.kind == kind and stage in (None, entry.stage) for entry in self.entries)

    def bytes(self, kind: str, stage: str | None = None) -> int:
        return sum(entry.size for entry in self.entries if entry.kind == kind and stage in (None, entry.stage))

    def to_dict(self) -> dict[str, dict[str, int]]:
        return {kind: {"calls": self.calls(kind), "bytes": self.bytes(kind)} for kind in KINDS}


@dataclass(frozen=True)
class Budget:
    """The most a frame may cost. ``calls`` by kind; a kind that is not named may not happen at all."""

    calls: Mapping[str, int]

    def check(self, frame: FrameCopies) -> None:
        """Raise ``BackendError`` that names the kind, the stages and both numbers where ``frame`` costs more."""
        for kind in KINDS:
            found, allowed = frame.calls(kind), self.calls.get(kind, 0)
            if found > allowed:
                stages = ", ".join(dict.fromkeys(entry.stage for entry in frame.entries if entry.kind == kind))
                raise BackendError(f"a frame's budget of {kind} is {allowed}, found {found} (in {stages})")


ONE_COPY = Budget({H2D: 1, D2H: 1, WAIT: 1, LAUNCH: 1})
"""A frame from the host: up once, its faces down once, one launch, one wait."""
NO_UPLOAD = Budget({D2H: 1, WAIT: 1, LAUNCH: 1})
"""A frame that is in the device's memory already, or in memory that host and device share."""


def one_copy_each(pictures: int) -> Budget:
    """Frames of several streams answered together: each up once, all else once for all of them."""
    return Budget({**ONE_COPY.calls, H2D: pictures})


class TransferStats:
    """Collects the events of every frame; one for each pipeline, on its thread."""

    def __init__(self) -> None:
        self.frames: deque[FrameCopies] = deque(maxlen=_KEPT)
        self.outside = FrameCopies(deque(maxlen=_KEPT))
        self.count = 0
        self._current: FrameCopies | None = None
        self._captured: list[Entry] | None = None
        self._stage = "set-up"

    @contextmanager
    def frame(self, pictures: int = 1) -> Iterator[FrameCopies]:
        """All events in here belong to one frame, or to ``pictures`` answered together; kept also where it fails."""
        if self._current is not None:
            raise BackendError("the ledger's last frame has not ended")
        self._current = FrameCopies(pictures=pictures)
        try:
            yield self._current
        finally:
            self.frames.append(self._current)
            self.count += pictures
            self._current = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        before, self._stage = self._stage, name
        try:
            yield
        finally:
            self._stage = before

    @contextmanager
    def capturing(self) -> Iterator[list[Entry]]:
        """Events in here are not counted but handed over, for ``replay`` at every launch of the graph."""
        entries: list[Entry] = []
        self._captured = entries
        try:
            yield entries
        finally:
            self._captured = None

    def record(self, kind: str, size: int = 0) -> None:
        self._add(Entry(kind, self._stage, size))

    def replay(self, entries: list[Entry]) -> None:
        """Count what a graph's launch does again."""
        self.record(LAUNCH)
        for entry in entries:
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        if self._captured is not None:
            self._captured.append(entry)
        else:
            (self._current or self.outside).entries.append(entry)

    def per_frame(self) -> dict[str, dict[str, float]]:
        """Mean calls and bytes a frame of each kind, over the frames that are kept."""
        count = max(sum(frame.pictures for frame in self.frames), 1)
        return {
            kind: {
                "calls": sum(frame.calls(kind) for frame in self.frames) / count,
                "bytes": sum(frame.bytes(kind) for frame in self.frames) / count,
            }
            for kind in KINDS
        }
