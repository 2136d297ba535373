from __future__ import annotations

import threading
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeface.sources.frame_queue import Counters, Inbox
from edgeface.types import Frame

PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(index: int) -> Frame:
    return Frame(PIXELS, index / 25, "made", index)


def test_a_camera_keeps_the_newest_frame_and_counts_the_others() -> None:
    inbox, counters = Inbox(), Counters()
    slot = inbox.open(counters, newest=True)
    assert all(slot.put(frame(index)) for index in range(5))
    taken = inbox.take()
    assert taken and taken.frame.index == 4 and counters.dropped == 4


def test_a_file_waits_and_loses_nothing() -> None:
    inbox, counters = Inbox(), Counters()
    slot = inbox.open(counters, newest=False, depth=2)

    def fill() -> None:
        for index in range(20):
            slot.put(frame(index))
        slot.close()

    thread = threading.Thread(target=fill)
    thread.start()
    found = []
    while taken := inbox.take():
        assert inbox.depth() <= 2
        found.append(taken.frame.index)
    thread.join(5)
    assert found == list(range(20)) and counters.dropped == 0 and not thread.is_alive()


def test_sources_take_turns() -> None:
    inbox = Inbox()
    slots = [inbox.open(Counters(), newest=False, depth=3) for _ in range(3)]
    for slot in slots:
        for index in range(3):
            slot.put(frame(index))
        slot.close()
    taken = [inbox.take() for _ in range(9)]
    assert [item and (item.slot, item.frame.index) for item in taken] == [(n % 3, n // 3) for n in range(9)]
    assert inbox.take() is None


def test_stopping_wakes_whoever_waits() -> None:
    inbox = Inbox()
    full, empty = inbox.open(Counters(), newest=False), inbox.open(Counters(), newest=False)
    full.put(frame(0))
    answers: list[object] = []
    waiting = [
        threading.Thread(target=lambda: answers.append(full.put(frame(1)))),
        threading.Thread(target=lambda: (inbox.take(), answers.append(inbox.take()))),
    ]
    waiting[0].start()
    time.sleep(0.05)
    inbox.stop()
    waiting[1].start()
    for thread in waiting:
        thread.join(5)
    assert answers == [False, None] or answers == [None, False]
    assert not empty.put(frame(2))


def test_an_event_ends_the_wait_for_a_frame() -> None:
    inbox, stop = Inbox(), threading.Event()
    inbox.open(Counters(), newest=True)
    threading.Timer(0.05, stop.set).start()
    assert inbox.take(stop) is None


@given(st.lists(st.sampled_from(["put", "take"]), max_size=60), st.integers(1, 4))
def test_every_frame_of_a_camera_is_taken_or_dropped(steps: list[str], depth: int) -> None:
    inbox, counters = Inbox(), Counters()
    slot = inbox.open(counters, newest=True, depth=depth)
    put, taken = 0, []
    for step in steps:
        if step == "put":
            slot.put(frame(put))
            put += 1
        elif inbox.depth():
            item = inbox.take()
            assert item is not None
            taken.append(item.frame.index)
    inbox.stop()
    assert not slot.put(frame(put))
    assert len(taken) + counters.dropped == put + 1
    assert taken == sorted(set(taken))
