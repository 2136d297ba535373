"""A sink in its own thread: order, bounds, errors and ends, with events instead of sleeps."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import SinkError
from edgeface.inference.result import FrameResult
from edgeface.sinks.base import Sink
from edgeface.sinks.open import open_sink
from edgeface.sinks.queue import BoundedSink, Outbox
from tests.pipeline.clips import result

PIXELS = np.zeros((8, 8, 3), np.uint8)
SOON_S = 20.0
"""Long enough for any machine; nothing here waits so long unless it hangs."""


class Held(Sink):
    """A sink that writes when it is allowed to."""

    name = "held"
    live = False

    def __init__(self, live: bool = False, failure: Exception | None = None) -> None:
        self.live, self.failure = live, failure
        self.gate, self.entered, self.aborted = threading.Event(), threading.Event(), threading.Event()
        self.taken: list[int] = []
        self.threads: set[int] = set()
        self.closed = 0

    def append(self, item: FrameResult) -> None:
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert self.gate.wait(SOON_S)
        if self.failure:
            raise self.failure
        if not self.aborted.is_set():
            self.taken.append(item.frame.index)

    def abort(self) -> None:
        self.aborted.set()
        self.gate.set()

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1


def frame(index: int) -> FrameResult:
    return result(PIXELS, index, index / 25, faces=0)


def test_everything_arrives_in_order_in_one_other_thread() -> None:
    inner = Held()
    inner.gate.set()
    with BoundedSink(inner, depth=2) as sink:
        for index in range(50):
            sink.append(frame(index))
    assert inner.taken == list(range(50)) and inner.closed == 1
    assert len(inner.threads) == 1 and threading.get_ident() not in inner.threads
    assert (sink.counters.written, sink.counters.dropped, sink.counters.depth) == (50, 0, 0)


def test_a_full_queue_makes_a_file_wait() -> None:
    inner = Held()
    sink = BoundedSink(inner, depth=2)
    sink.append(frame(0))
    assert inner.entered.wait(SOON_S)
    sink.append(frame(1))
    sink.append(frame(2))
    waiting = threading.Thread(target=sink.append, args=(frame(3),))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive() and sink.counters.depth == 2
    inner.gate.set()
    waiting.join(SOON_S)
    sink.close()
    assert inner.taken == [0, 1, 2, 3]


def test_a_full_queue_loses_its_oldest_in_a_live_sink_and_the_count_adds_up() -> None:
    inner = Held()
    sink = BoundedSink(inner, depth=3, policy="drop_oldest")
    sink.append(frame(0))
    assert inner.entered.wait(SOON_S)
    for index in range(1, 11):
        sink.append(frame(index))
    assert sink.counters.depth == 3
    inner.gate.set()
    sink.close()
    assert inner.taken == [0, 8, 9, 10]
    assert (sink.counters.written, sink.counters.dropped) == (4, 7)


def test_an_error_of_the_sink_reaches_who_appends_and_the_sink_is_closed() -> None:
    inner = Held(failure=SinkError("cannot write `held`: no space left on device"))
    inner.gate.set()
    with pytest.raises(SinkError, match="no space left"), BoundedSink(inner, depth=1) as sink:
        for index in range(1000):
            sink.append(frame(index))
    assert inner.closed == 1


def test_an_error_of_the_last_result_reaches_who_closes() -> None:
    inner = Held(failure=SinkError("disk full"))
    sink = BoundedSink(inner)
    sink.append(frame(0))
    inner.gate.set()
    with pytest.raises(SinkError, match="disk full"):
        sink.close()
    sink.close()
    with pytest.raises(SinkError, match="`held` is closed, open it again"):
        sink.append(frame(1))


def test_who_waits_for_room_wakes_when_the_sink_fails() -> None:
    inner = Held(failure=SinkError("gone"))
    sink = BoundedSink(inner, depth=1)
    sink.append(frame(0))
    assert inner.entered.wait(SOON_S)
    sink.append(frame(1))
    errors: list[str] = []

    def wait_for_room() -> None:
        try:
            sink.append(frame(2))
        except SinkError as error:
            errors.append(str(error))

    waiting = threading.Thread(target=wait_for_room)
    waiting.start()
    inner.gate.set()
    waiting.join(SOON_S)
    sink.close()
    assert errors == ["gone"] and inner.closed == 1


def test_abort_wakes_who_waits_and_forgets_the_rest() -> None:
    inner = Held()
    sink = BoundedSink(inner, depth=1)
    sink.append(frame(0))
    assert inner.entered.wait(SOON_S)
    sink.append(frame(1))
    waiting = threading.Thread(target=sink.append, args=(frame(2),))
    waiting.start()
    sink.abort()
    waiting.join(SOON_S)
    assert not waiting.is_alive()
    sink.close()
    assert inner.taken == [] and inner.closed == 1 and sink.counters.dropped == 2


def test_a_live_sink_that_hangs_is_given_up_after_its_grace() -> None:
    inner = Held(live=True)
    sink = BoundedSink(inner, policy="drop_oldest", grace_s=0.05)
    sink.append(frame(0))
    assert inner.entered.wait(SOON_S)
    sink.close()
    assert inner.aborted.is_set() and inner.closed == 1


def test_an_error_elsewhere_before_the_first_result_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), BoundedSink(open_sink(tmp_path / "a.jsonl")):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_error_elsewhere_keeps_what_was_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), BoundedSink(open_sink(tmp_path / "a.jsonl")) as sink:
        for index in range(20):
            sink.append(frame(index))
        raise RuntimeError
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 20


def test_an_outbox_needs_room() -> None:
    with pytest.raises(ValueError, match="depth: expected at least 1, found 0"):
        Outbox(print, 0)
