"""Waiting for what a live source does, with a limit that no healthy run comes near."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeface.sources.base import Source
from edgeface.types import Frame

LIMIT_S = 30.0


def wait_until(what: Callable[[], object]) -> None:
    """Return once ``what`` is true."""
    end_s = time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)


class Viewer:
    """Reads a source in a thread and keeps what came, without the pixels but for the last."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.times: list[float] = []
        self.sizes: list[tuple[int, int]] = []
        self.last: Frame | None = None
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        for frame in self.source.read():
            assert frame.pts_s is not None
            self.last = frame
            self.sizes.append((frame.width, frame.height))
            self.times.append(frame.pts_s)

    def wait_for_more(self, count: int = 5) -> None:
        """Until ``count`` more frames have come."""
        wanted = len(self.times) + count
        wait_until(lambda: len(self.times) >= wanted)


@contextmanager
def watching(source: Source) -> Iterator[Viewer]:
    """A viewer whose thread has ended afterwards."""
    viewer = Viewer(source)
    try:
        yield viewer
    finally:
        source.close()
        viewer.thread.join(LIMIT_S)
        assert not viewer.thread.is_alive()
