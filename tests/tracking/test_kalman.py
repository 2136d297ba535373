"""The Kalman tracker: the behaviour of every tracker, and what the stream's time, occlusion and crossings ask for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.errors import ConfigError
from edgeface.tracking.clock import StreamClock
from edgeface.tracking.kalman import KalmanTracker
from tests.tracking.test_iou import centre, faces

FRAME_S = 1 / 25


def ids(tracker: KalmanTracker, *centres: tuple[float, float], at: float | None = None, side: float = 20) -> list[int]:
    return tracker(faces(*centres, side=side), at).ids.tolist()


def test_first_faces_are_numbered_in_order_and_followed_by_place() -> None:
    tracker = KalmanTracker()
    assert ids(tracker, (50, 50), (150, 50)) == [1, 2]
    assert ids(tracker, (152, 50), (51, 50)) == [2, 1]
    assert tracker.count == 2


def test_a_later_face_is_numbered_once_confirmed() -> None:
    tracker = KalmanTracker(min_hits=3)
    assert ids(tracker, (50, 50)) == [1]
    assert [ids(tracker, (50, 50), (150, 50)) for _ in range(3)] == [[1, -1], [1, -1], [1, 2]]


def test_a_flicker_takes_no_number() -> None:
    tracker = KalmanTracker()
    ids(tracker, (50, 50))
    assert ids(tracker, (50, 50), (200, 200)) == [1, -1]
    for _ in range(6):
        ids(tracker, (50, 50))
    assert [ids(tracker, (50, 50), (200, 200)) for _ in range(2)] == [[1, -1], [1, 2]]


@pytest.mark.parametrize("fps", [5.0, 25.0, 60.0])
def test_a_face_hidden_for_less_than_a_second_keeps_its_number(fps: float) -> None:
    tracker = KalmanTracker(max_gap_s=1.0)
    ids(tracker, (50, 50), at=0.0)
    for step in range(1, round(0.9 * fps)):
        assert ids(tracker, at=step / fps) == []
    assert ids(tracker, (53, 50), at=0.9) == [1]


@pytest.mark.parametrize("fps", [5.0, 25.0, 60.0])
def test_a_face_gone_for_longer_is_somebody_new(fps: float) -> None:
    tracker = KalmanTracker(min_hits=1, max_gap_s=0.5)
    ids(tracker, (50, 50), at=0.0)
    for step in range(1, round(0.9 * fps)):
        ids(tracker, at=step / fps)
    assert ids(tracker, (50, 50), at=0.9) == [2]


def test_after_a_stall_of_the_stream_everybody_is_new() -> None:
    tracker = KalmanTracker()
    for step in range(10):
        ids(tracker, (50, 50), at=step * FRAME_S)
    assert ids(tracker, (50, 50), at=600.0) == [-1]
    assert ids(tracker, (50, 50), at=600.0 + FRAME_S) == [2]


def test_frames_rarer_than_the_gap_are_no_stall() -> None:
    tracker = KalmanTracker(max_gap_s=1.0)
    assert [ids(tracker, (50, 50), at=2.0 * step) for step in range(5)] == [[1]] * 5


@pytest.mark.parametrize(
    "stamps", [[0.0] * 6, [5.0, 4.0, 3.0, 2.0, 1.0, 0.0], [None] * 6, [1.0, math.nan, 1.1, 1e9, 2, 3]]
)
def test_stamps_that_cannot_be_take_one_usual_interval(stamps: list[float | None]) -> None:
    clock = StreamClock()
    steps = [clock.tick(stamp) for stamp in stamps]
    assert all(0 < step < math.inf for step in steps)
    assert clock.now_s == pytest.approx(sum(steps))
    tracker = KalmanTracker()
    assert [ids(tracker, (50, 50), at=stamp) for stamp in stamps[:3]] == [[1]] * 3


def test_a_walker_is_found_where_he_should_be_after_a_gap() -> None:
    tracker = KalmanTracker()
    for step in range(5):
        assert ids(tracker, (50 + 10 * step, 50)) == [1]
    for _ in range(4):
        ids(tracker)
    assert ids(tracker, (50 + 10 * 9, 50)) == [1]


def test_a_walker_who_stopped_is_found_where_he_was() -> None:
    tracker = KalmanTracker()
    for step in range(4):
        ids(tracker, (50 + 12 * step, 50))
    for _ in range(5):
        ids(tracker)
    assert ids(tracker, (90, 50)) == [1]


def test_nobody_is_looked_for_across_the_picture() -> None:
    tracker = KalmanTracker()
    ids(tracker, (50, 50))
    for _ in range(15):
        ids(tracker)
    assert ids(tracker, (50 + 4 * 20, 50)) == [-1]


def test_people_who_pass_each_other_keep_their_numbers() -> None:
    tracker = KalmanTracker()
    for step in range(21):
        assert ids(tracker, (50 + 5 * step, 50), (150 - 5 * step, 64)) == [1, 2], step


def test_two_who_meet_while_one_is_covered_keep_their_numbers() -> None:
    tracker = KalmanTracker()
    for step in range(31):
        near, far = (50 + 6 * step, 50), (230 - 6 * step, 56)
        found = ids(tracker, near) if 13 <= step <= 17 else ids(tracker, near, far)
        assert found == [1, 2][: len(found)], step


def test_a_box_cut_by_what_covers_it_keeps_its_number() -> None:
    tracker = KalmanTracker()
    for _ in range(5):
        tracker(faces((100, 100), side=80))
    half = faces((100, 80), side=80)
    boxes = half.boxes.copy()
    boxes[0] = 60, 60, 140, 100
    assert tracker(type(half)(boxes, half.scores, half.landmarks)).ids.tolist() == [1]
    assert ids(tracker, (100, 100), side=80) == [1]


def test_a_fast_small_face_keeps_its_number() -> None:
    tracker = KalmanTracker()
    for step in range(8):
        assert ids(tracker, (20 + 14 * step, 40), side=16) == [1]


def test_all_pairs_are_settled_together() -> None:
    """Taking the nearest pair first would leave the second face without its track."""
    tracker = KalmanTracker()
    ids(tracker, (100, 50), (124, 50))
    assert ids(tracker, (113, 50), (137, 50)) == [1, 2]


def test_forgetting_goes_on_counting() -> None:
    tracker = KalmanTracker()
    ids(tracker, (50, 50), (150, 50))
    tracker.forget()
    assert ids(tracker, (50, 50)) == [3]


@given(st.lists(st.tuples(st.lists(centre, max_size=6), st.floats(allow_nan=True) | st.none()), max_size=12))
def test_numbers_are_unique_in_a_frame_and_count_up(
    frames: list[tuple[list[tuple[float, float]], float | None]],
) -> None:
    tracker = KalmanTracker()
    highest = 0
    for centres, at in frames:
        found = ids(tracker, *centres, at=at)
        numbered = [number for number in found if number >= 0]
        assert len(found) == len(centres) and len(set(numbered)) == len(numbered)
        assert all(1 <= number <= tracker.count for number in numbered)
        assert tracker.count >= highest
        highest = tracker.count


@given(st.lists(st.booleans(), min_size=2, max_size=40), st.lists(st.floats(-2, 2), min_size=80, max_size=80))
def test_flicker_and_jitter_do_not_change_the_number(seen: list[bool], jitter: list[float]) -> None:
    tracker = KalmanTracker(max_gap_s=2.0)
    ids(tracker, (100, 100))
    for frame, visible in enumerate(seen):
        if visible:
            assert ids(tracker, (100 + jitter[2 * frame], 100 + jitter[2 * frame + 1])) == [1]
        else:
            ids(tracker)
    assert tracker.count == 1


def test_memory_stays_bounded() -> None:
    tracker = KalmanTracker()
    rng = np.random.default_rng(0)
    for _ in range(400):
        ids(tracker, *map(tuple, rng.uniform(0, 4000, (5, 2)).tolist()))
    assert len(tracker._tracks) < 60


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("min_hits", 0, "min_hits: expected 1 or more, found 0"),
        ("max_gap_s", 0.0, "max_gap_s: expected seconds above 0, found 0"),
        ("max_gap_s", math.nan, "max_gap_s: expected seconds above 0, found nan"),
    ],
)
def test_settings_out_of_range_are_named(setting: str, value: float, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        KalmanTracker(**{setting: value})


@pytest.mark.parametrize(("jump", "same"), [(0.5, True), (0.75, False)])
def test_a_jump_within_reach_but_beyond_what_motion_allows_is_somebody_new(jump: float, same: bool) -> None:
    """Within the search distance both; the filter's gate tells them apart."""
    side = 80.0
    tracker = KalmanTracker()
    for frame in range(12):
        (first,) = ids(tracker, (200, 200), at=frame * FRAME_S, side=side)
    found: set[int] = set()
    for frame in range(12, 18):
        found |= set(ids(tracker, (200 + jump * side, 200), at=frame * FRAME_S, side=side))
    assert (first in found) is same
