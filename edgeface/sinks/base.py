"""What a sink is, and what all sinks share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edgeface.common.files import atomic_path
from edgeface.errors import SinkError
from edgeface.inference.result import FrameResult

Message = dict[str, Any]
"""What sinks of JSON pass on: ``FrameResult.to_dict`` or counts (``sinks.privacy``)."""


@dataclass(frozen=True)
class SinkCounters:
    """What became of a sink's results so far: how many were written, dropped, had to be tried again (``errors``), how
    often it connected again, and how many wait (``depth``)."""

    written: int = 0
    dropped: int = 0
    reconnects: int = 0
    errors: int = 0
    depth: int = 0


class Sink(ABC):
    """Takes results in order; ``close`` makes them available. Both raise ``SinkError``. A context that closes, whatever
    ended it.

    ``name`` identifies it in messages and metrics. ``live`` sinks deliver at once or not at all: they rather lose a
    result than hold up the run. ``shows_images``: pixels leave through it, which privacy options care about.
    """

    name: str
    live = False
    shows_images = False

    @property
    def counters(self) -> SinkCounters | None:
        """What became of the results so far; ``None`` where the sink keeps no count."""
        return None

    @abstractmethod
    def append(self, result: FrameResult) -> None:
        """Take one frame's result."""

    @abstractmethod
    def close(self) -> None:
        """Make what was taken available; closing twice is harmless."""

    def abort(self) -> None:  # noqa: B027 - most sinks have nothing to give up
        """Give up what is being tried, so that ``close`` returns soon."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class MessageSink(Sink):
    """A sink of JSON: it takes any message, so counts can be sent in place of results."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Take one message."""

    def append(self, result: FrameResult) -> None:
        self.send(result.to_dict())


class MemorySink(Sink):
    """Keeps every result in ``results``, frames included: for short clips and for programs that go on with them."""

    name = "memory"

    def __init__(self) -> None:
        self.results: list[FrameResult] = []

    def append(self, result: FrameResult) -> None:
        self.results.append(result)

    def close(self) -> None:
        """Nothing is open."""


class PartFile:
    """``atomic_path`` for a file that stays open: written at ``path``, then either kept under its name or discarded."""

    def __init__(self, name: str | os.PathLike[str]) -> None:
        self._context = atomic_path(name)
        self.path = self._context.__enter__()

    def finish(self, keep: bool) -> None:
        """Rename the file to its name, or remove it. Raises ``SinkError`` where renaming fails."""
        failure = None if keep else _Discarded()
        self._context.__exit__(type(failure) if failure else None, failure, None)


class _Discarded(Exception):
    """Tells ``atomic_path`` to leave nothing behind."""


@contextmanager
def writing(name: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an ``OSError`` while writing ``name`` (no such folder, not permitted, disk full) into a ``SinkError``.

    A pipe's reader that went away is no failure of ours: ``BrokenPipeError`` passes.
    """
    try:
        yield
    except (SinkError, BrokenPipeError):
        raise
    except OSError as error:
        raise SinkError(f"cannot write `{os.fspath(name)}`: {error.strerror or error}") from error
