"""A sink in a thread of its own behind a bounded queue, so that a slow one cannot hold up the others."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, Literal, TypeVar

from edgeface.errors import SinkError
from edgeface.inference.result import FrameResult
from edgeface.sinks.base import Sink, SinkCounters

Policy = Literal["block", "drop_oldest"]
T = TypeVar("T")


class Outbox(Generic[T]):
    """A bounded queue that one thread empties into ``deliver``.

    ``policy``: a full queue makes ``put`` wait ("block"), or loses its oldest item and counts it ("drop_oldest").
    The first error of ``deliver`` ends the delivery and is raised once, by the next ``put`` or by ``close``.
    ``finish`` runs last, in the same thread: connections, encoders and windows belong to the thread that used them.
    """

    def __init__(
        self,
        deliver: Callable[[T], None],
        depth: int = 8,
        policy: Policy = "block",
        name: str = "outbox",
        finish: Callable[[], None] | None = None,
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth: expected at least 1, found {depth}")
        self.written = self.dropped = 0
        self._deliver, self._finish, self._depth, self._policy = deliver, finish, depth, policy
        self._queue: deque[T] = deque()
        self._changed = threading.Condition()
        self._closing = self._aborted = False
        self._error: BaseException | None = None
        self._failed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def done(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def put(self, item: T) -> None:
        """Queue one item. Raises what the thread met; after ``abort`` items go nowhere."""
        with self._changed:
            self._raise()
            if self._policy == "drop_oldest":
                while len(self._queue) >= self._depth:
                    self._queue.popleft()
                    self.dropped += 1
            self._changed.wait_for(lambda: len(self._queue) < self._depth or self._aborted or self._failed)
            self._raise()
            if self._aborted or self._failed:
                self.dropped += 1
                return
            self._queue.append(item)
            self._changed.notify_all()

    def close(self, timeout_s: float | None = None) -> bool:
        """Deliver what waits and end the thread; ``False`` if it has not ended in time. Raises what the thread met."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            self._raise()
        return self.done

    def abort(self) -> None:
        """Forget what waits and let no one wait."""
        with self._changed:
            self._aborted = True
            self._forget()

    def _work(self) -> None:
        while self._next():
            pass
        if self._finish is not None:
            try:
                self._finish()
            except BaseException as error:  # the thread that closes raises it
                self._fail(error)

    def _next(self) -> bool:
        """Deliver one item; ``False`` when there will be none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return False
            item = self._queue.popleft()
            self._changed.notify_all()
        try:
            self._deliver(item)
        except BaseException as error:  # the thread that puts raises it
            self._fail(error)
        else:
            self.written += 1
        return True

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if not self._failed:
                self._failed, self._error = True, error
            self._forget()

    def _forget(self) -> None:
        self.dropped += len(self._queue)
        self._queue.clear()
        self._changed.notify_all()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


class BoundedSink(Sink):
    """``sink`` in its own thread, at most ``depth`` results behind.

    ``policy`` as in ``Outbox``: "block" for files, whose every frame counts, "drop_oldest" for live sinks. A live sink
    has ``grace_s`` seconds for what waits when it is closed, then its ``abort`` is called.
    """

    def __init__(self, sink: Sink, depth: int = 8, policy: Policy = "block", grace_s: float = 2.0) -> None:
        self.name, self.inner = sink.name, sink
        self.live, self.shows_images = sink.live, sink.shows_images
        self._grace_s = grace_s
        self._exit: tuple[object, object, object] = (None, None, None)
        self._closed = False
        self._outbox: Outbox[FrameResult] = Outbox(sink.append, depth, policy, f"sink {sink.name}", self._finish)

    @property
    def counters(self) -> SinkCounters:
        """A snapshot, this queue's losses and the sink's own together."""
        own = self.inner.counters or SinkCounters(written=self._outbox.written)
        return replace(own, dropped=own.dropped + self._outbox.dropped, depth=own.depth + len(self._outbox))

    def append(self, result: FrameResult) -> None:
        """Queue ``result``. Raises what the sink's thread met."""
        if self._closed:
            raise SinkError(f"`{self.name}` is closed, open it again")
        self._outbox.put(result)

    def close(self) -> None:
        """Write what is queued and close the sink; closing twice is harmless. Raises what the sink's thread met."""
        if self._closed:
            return
        self._closed = True
        if self._outbox.close(self._grace_s if self.live else None):
            return
        self.abort()
        self._outbox.close(self._grace_s)

    def abort(self) -> None:
        """Give up what is queued; anyone who waits for room goes on at once."""
        self._outbox.abort()
        self.inner.abort()

    def _finish(self) -> None:
        self.inner.__exit__(*self._exit)

    def __enter__(self) -> BoundedSink:
        return self

    def __exit__(self, *exc: Any) -> None:
        if not self._closed:
            self._exit = (exc[0], exc[1], exc[2])
        self.close()
