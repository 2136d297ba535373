"""A thread that owns something, such as a GPU's context: others hand it work through a bounded queue."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from edgeface.errors import BackendError

_T = TypeVar("_T")
_R = TypeVar("_R")

log = logging.getLogger("edgeface.owner")


class DeviceThread(Generic[_T]):
    """Makes a value on a thread of its own, works with it there, and frees it there.

    ``depth`` pieces of work may wait; handing in more waits as well. What ``make`` raises is raised here.
    """

    def __init__(self, make: Callable[[], _T], free: Callable[[_T], None], name: str, depth: int = 2) -> None:
        self._queue: queue.Queue[tuple[Future[Any], Callable[[_T], Any]] | None] = queue.Queue(depth)
        self._lock = threading.Lock()
        self._closed = False
        made: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, args=(make, free, made), name=name, daemon=True)
        self._thread.start()
        try:
            made.result()
        except BaseException:
            self._closed = True
            raise

    def submit(self, work: Callable[[_T], _R]) -> Future[_R]:
        """Have ``work`` done with the value, in turn. Raises ``BackendError`` after ``close``."""
        future: Future[_R] = Future()
        with self._lock:
            if self._closed:
                raise BackendError(f"the {self._thread.name} is closed")
            self._queue.put((future, work))
        return future

    def call(self, work: Callable[[_T], _R]) -> _R:
        """Have ``work`` done and wait for its answer; raises what it raises."""
        return self.submit(work).result()

    def close(self) -> None:
        """Finish what was handed in, free the value and end the thread; closing twice is harmless."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _work(self, make: Callable[[], _T], free: Callable[[_T], None], made: Future[None]) -> None:
        try:
            value = make()
        except BaseException as error:
            made.set_exception(error)
            return
        made.set_result(None)
        while (item := self._queue.get()) is not None:
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work(value))
            except BaseException as error:
                future.set_exception(error)
        try:
            free(value)
        except Exception as error:  # no one is left to raise it to: anyone who closes may have an error of his own
            log.warning("the %s could not free all it had: %s", self._thread.name, error)
