"""Reading ahead: same answers in the same order, bounded, and errors where they belong."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.common.prefetch import read_ahead


@given(st.lists(st.integers()), st.integers(0, 4))
def test_it_is_map(items: list[int], depth: int) -> None:
    assert list(read_ahead(str, items, depth)) == [str(item) for item in items]


def test_no_more_is_read_than_asked_for() -> None:
    drawn: list[int] = []
    answers = read_ahead(lambda item: item, (drawn.append(item) or item for item in range(100)), depth=2)
    assert next(answers) == 0 and drawn == [0, 1, 2]
    assert next(answers) == 1 and drawn == [0, 1, 2, 3]


def test_reading_goes_on_while_an_answer_is_used() -> None:
    read = threading.Semaphore(0)
    answers = read_ahead(lambda item: read.release() or item, range(9), depth=2)
    assert next(answers) == 0
    assert all(read.acquire(timeout=10) for _ in range(3)), "three were read, though one was taken"
    answers.close()


def test_an_error_comes_where_its_answer_would() -> None:
    answers = read_ahead(lambda item: 6 // item, [3, 2, 0, 1])
    assert [next(answers), next(answers)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(answers)


def test_closing_early_ends_the_thread() -> None:
    before = threading.active_count()
    answers = read_ahead(str, range(1000))
    assert next(answers) == "0" and threading.active_count() == before + 1
    answers.close()
    assert threading.active_count() == before
