"""Reading the next images while the network answers this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Read = TypeVar("_Read")

DEPTH = 2
"""Images that are read ahead: two of the largest that are allowed take 800 MB."""


def read_ahead(read: Callable[[_Item], _Read], items: Iterable[_Item], depth: int = DEPTH) -> Iterator[_Read]:
    """``map(read, items)`` with a thread that is up to ``depth`` items ahead of anyone who takes the answers.

    ``items`` are drawn by the taker's thread; what ``read`` raises is raised where its answer would have come. Closing
    the iterator early ends the thread.
    """
    waiting: deque[Future[_Read]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="edgeface read ahead")
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
