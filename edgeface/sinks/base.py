"""What a sink is, and what all sinks share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from edgeface.common.files import atomic_path
from edgeface.errors import SinkError
from edgeface.inference.result import FrameResult

Message = dict[str, Any]
"""What sinks of JSON pass on: ``FrameResult.to_dict`` or counts (``sinks.privacy``)."""


class Sink(Protocol):
    """Takes results in order; ``close`` makes them available. Both raise ``SinkError``."""

    name: str

    def append(self, result: FrameResult) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Sink: ...

    def __exit__(self, *exc: object) -> None: ...


class ContextSink(ABC):
    """What all sinks share: a context that closes, whatever ended it.

    ``live`` sinks deliver at once or not at all: they rather lose a result than hold up the run. ``pictures``: it shows
    pixels. A sink with a ``send`` takes any message that JSON can hold in a result's place.
    """

    live = False
    pictures = False

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


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


@dataclass(frozen=True)
class SinkCounters:
    """What became of a sink's results so far: how many were written, dropped, had to be tried again (``errors``), how
    often it connected again, and how many wait (``depth``)."""

    written: int = 0
    dropped: int = 0
    reconnects: int = 0
    errors: int = 0
    depth: int = 0
