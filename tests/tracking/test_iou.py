from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.errors import ConfigError
from edgeface.tracking.iou import IouTracker
from edgeface.types import Faces


def faces(*centres: tuple[float, float], side: float = 20.0) -> Faces:
    boxes = [[x - side / 2, y - side / 2, x + side / 2, y + side / 2] for x, y in centres]
    count = len(boxes)
    return Faces(np.reshape(boxes, (count, 4)), np.full(count, 0.9), np.zeros((count, 5, 2)))


def ids(tracker: IouTracker, *centres: tuple[float, float]) -> list[int]:
    return tracker(faces(*centres)).ids.tolist()


def test_first_faces_are_numbered_in_order() -> None:
    tracker = IouTracker()
    assert ids(tracker, (50, 50), (150, 50)) == [1, 2]
    assert ids(tracker, (152, 50), (51, 50)) == [2, 1]
    assert tracker.count == 2


def test_a_later_face_is_numbered_once_confirmed() -> None:
    tracker = IouTracker(min_hits=3)
    assert ids(tracker, (50, 50)) == [1]
    assert [ids(tracker, (50, 50), (150, 50)) for _ in range(3)] == [[1, -1], [1, -1], [1, 2]]


def test_a_flicker_takes_no_number() -> None:
    tracker = IouTracker(max_missed=2)
    ids(tracker, (50, 50))
    assert ids(tracker, (50, 50), (200, 200)) == [1, -1]
    for _ in range(3):
        ids(tracker, (50, 50))
    assert [ids(tracker, (50, 50), (120, 50)) for _ in range(2)] == [[1, -1], [1, 2]]


@pytest.mark.parametrize("gap", [1, 5, 15])
def test_a_face_that_was_missed_keeps_its_number(gap: int) -> None:
    tracker = IouTracker(max_missed=15)
    ids(tracker, (50, 50))
    for _ in range(gap):
        assert ids(tracker) == []
    assert ids(tracker, (53, 50)) == [1]


def test_a_face_gone_for_too_long_is_somebody_new() -> None:
    tracker = IouTracker(max_missed=3, min_hits=1)
    ids(tracker, (50, 50))
    for _ in range(4):
        ids(tracker)
    assert ids(tracker, (50, 50)) == [2]


def test_a_walker_is_found_where_he_should_be_after_a_gap() -> None:
    tracker = IouTracker()
    for step in range(5):
        assert ids(tracker, (50 + 10 * step, 50)) == [1]
    for _ in range(4):
        ids(tracker)
    assert ids(tracker, (50 + 10 * 9, 50)) == [1]


def test_a_walker_who_stopped_is_found_where_he_was() -> None:
    tracker = IouTracker()
    for step in range(4):
        ids(tracker, (50 + 12 * step, 50))
    for _ in range(5):
        ids(tracker)
    assert ids(tracker, (90, 50)) == [1]


def test_people_who_pass_each_other_keep_their_numbers() -> None:
    tracker = IouTracker()
    for step in range(21):
        found = ids(tracker, (50 + 5 * step, 50), (150 - 5 * step, 64))
        assert found == [1, 2], step


def test_a_fast_small_face_keeps_its_number() -> None:
    tracker = IouTracker()
    for step in range(8):
        assert tracker(faces((20 + 14 * step, 40), side=16)).ids.tolist() == [1]


centre = st.tuples(st.floats(0, 400), st.floats(0, 300))


@given(st.lists(st.lists(centre, max_size=6), max_size=12))
def test_numbers_are_unique_in_a_frame_and_count_up(frames: list[list[tuple[float, float]]]) -> None:
    tracker = IouTracker()
    highest = 0
    for centres in frames:
        found = ids(tracker, *centres)
        numbered = [number for number in found if number >= 0]
        assert len(found) == len(centres) and len(set(numbered)) == len(numbered)
        assert all(1 <= number <= tracker.count for number in numbered)
        assert tracker.count >= highest
        highest = tracker.count


@given(st.lists(st.booleans(), min_size=2, max_size=40), st.lists(st.floats(-2, 2), min_size=80, max_size=80))
def test_flicker_and_jitter_do_not_change_the_number(seen: list[bool], jitter: list[float]) -> None:
    tracker = IouTracker(max_missed=40)
    ids(tracker, (100, 100))
    for frame, visible in enumerate(seen):
        if visible:
            assert ids(tracker, (100 + jitter[2 * frame], 100 + jitter[2 * frame + 1])) == [1]
        else:
            ids(tracker)
    assert tracker.count == 1


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("iou_threshold", 0, "iou_threshold: expected a number between 0 and 1, found 0"),
        ("buffer_frac", -0.1, "buffer_frac: expected 0 or more, found -0.1"),
        ("min_hits", 0, "min_hits: expected 1 or more, found 0"),
        ("max_missed", -1, "max_missed: expected 0 or more, found -1"),
    ],
)
def test_settings_out_of_range_are_named(setting: str, value: float, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        IouTracker(**{setting: value})
