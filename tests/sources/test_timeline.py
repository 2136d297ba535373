from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.sources.timeline import Latency, Timeline

TIMES = st.one_of(st.none(), st.floats(-1e6, 1e6))


def test_the_streams_own_times_are_kept() -> None:
    line = Timeline()
    assert [line(stated, 100 + stated) for stated in (7.0, 7.04, 7.1)] == [7.0, 7.04, 7.1]


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, -0.5])
def test_over_a_clock_that_is_set_our_own_tells_how_much_passed(jump_s: float) -> None:
    line = Timeline()
    line(1.0, 50.0)
    assert line(1.04 + jump_s, 50.04) == pytest.approx(1.04)
    assert line(1.08 + jump_s, 50.08) == pytest.approx(1.08)
    assert line.jumps == 1


def test_a_new_connection_continues_after_the_time_that_passed() -> None:
    line = Timeline()
    line(30.0, 100.0)
    line.restart()
    assert line(0.0, 104.0) == pytest.approx(34.0)
    assert line(0.04, 104.04) == pytest.approx(34.04)
    assert line.jumps == 0


def test_without_times_the_arrivals_count() -> None:
    line = Timeline()
    assert [line(None, at) for at in (5.0, 5.1, 5.3)] == pytest.approx([0.0, 0.1, 0.3])


@given(st.lists(st.tuples(TIMES, st.floats(0, 10), st.booleans()), max_size=30))
def test_times_grow_strictly_whatever_comes(shots: list[tuple[float | None, float, bool]]) -> None:
    line, now_s, last = Timeline(), 0.0, None
    for stated, step_s, restarted in shots:
        if restarted:
            line.restart()
        now_s += step_s
        pts_s = line(stated, now_s)
        assert last is None or pts_s > last
        last = pts_s


def test_what_waited_in_a_buffer_is_as_late_as_it_is() -> None:
    latency = Latency()
    assert latency.captured_s(0.0, 10.0) == 10.0
    assert latency.captured_s(1.0, 11.5, waited=False) == pytest.approx(11.0, abs=1e-3)
    assert latency.lag_s(2.0, 13.0) == pytest.approx(1.0, abs=1e-3)


def test_lateness_that_grows_slowly_is_no_drift() -> None:
    latency, late_s = Latency(), 0.0
    for second in range(600):
        late_s = 0.002 * second  # 7 s an hour
        captured_s = latency.captured_s(float(second), 100 + second + late_s, waited=False)
    assert 100 + 599 + late_s - captured_s > 0.9 * late_s


def test_a_camera_slower_than_its_times_is_not_late() -> None:
    latency = Latency()
    for index in range(1000):
        arrived_s = 100 + index / 20  # it says 25 a second
        captured_s = latency.captured_s(index / 25, arrived_s, waited=True)
    assert captured_s == pytest.approx(arrived_s, abs=0.05)


def test_a_clock_that_is_set_starts_anew() -> None:
    latency = Latency()
    latency.captured_s(0.0, 10.0)
    assert latency.captured_s(3600.0, 10.04) == pytest.approx(10.04)
