"""What several looks say together: precision, honesty about shared errors, labels and ages that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.tracking.posterior import Posterior, PosteriorOptions
from edgeface.types import Attributes

LONG_S = 10.0


def look(age: float = 30.0, std: float = 5.0, male: float = 0.9, race: int = 0, sure: float = 0.8) -> Attributes:
    races = np.full((1, 5), (1 - sure) / 4)
    races[0, race] = sure
    return Attributes([age], [std], [[male, 1 - male]], races)


def after(*looks: tuple[Attributes, float, float], **options: float) -> Posterior:
    posterior = Posterior(PosteriorOptions(**options))
    for row, quality, since_s in looks:
        posterior.add(row, quality, since_s)
    return posterior


def test_one_good_look_says_what_the_network_says() -> None:
    answer = after((look(), 1.0, 0.0)).answer()
    assert (answer.age, answer.age_std) == (pytest.approx(30), pytest.approx(5))
    assert answer.gender == pytest.approx([0.9, 0.1], abs=1e-4)
    assert answer.race == pytest.approx([0.8, 0.05, 0.05, 0.05, 0.05], abs=1e-4)
    assert (answer.gender_label, answer.race_label) == (0, 0)


def test_a_bad_look_is_less_sure_than_the_network() -> None:
    answer = after((look(), 0.1, 0.0)).answer()
    assert answer.age_std > 6 and 0.5 < answer.gender[0] < 0.8


def test_before_any_look_nothing_is_known() -> None:
    answer = after().answer()
    assert math.isnan(answer.age) and np.isnan(answer.gender).all()
    assert (answer.gender_label, answer.race_label) == (-1, -1)


def test_many_looks_never_get_below_the_error_that_stays_with_the_person() -> None:
    posterior = after(*[(look(), 1.0, LONG_S)] * 1000, shared=0.64, most_looks=1e9)
    assert posterior.answer().age_std == pytest.approx(0.8 * 5, rel=0.01)
    assert posterior.answer().gender[0] < 0.98, "0.9 a thousand times is not certainty: the looks err together"


def test_looks_close_in_time_tell_less_than_looks_far_apart() -> None:
    close, far = (after(*[(look(), 1.0, gap)] * 10).looks for gap in (0.04, LONG_S))
    assert 1 < close < 2 < 9.9 < far <= 10


def test_the_information_of_correlated_looks_is_that_of_generalised_least_squares() -> None:
    """200 frames of one second against the exact variance of the mean of an AR(1) process."""
    tau_s, step_s, count = 0.5, 0.04, 200
    lags = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) * step_s
    exact = np.linalg.solve(np.exp(-lags / tau_s), np.ones(count)).sum()
    looks = after(*[(look(), 1.0, step_s)] * count, tau_s=tau_s, most_looks=1e9).looks
    assert looks == pytest.approx(exact, rel=0.1)


def test_a_sharp_look_weighs_more_than_a_blurred_one() -> None:
    posterior = after((look(30), 1.0, 0.0), (look(60), 0.1, LONG_S), band=0.0)
    assert posterior.answer().age == pytest.approx((30 + 0.1 * 60) / 1.1)


def test_the_shown_age_holds_until_the_evidence_moves_it() -> None:
    posterior = after((look(30), 1.0, 0.0), (look(33), 1.0, LONG_S))
    assert posterior.answer().age == 30
    for _ in range(10):
        posterior.add(look(45), 1.0, LONG_S)
    assert posterior.answer().age == pytest.approx(43, abs=3)


def test_a_label_is_held_against_a_briefly_likelier_one_and_given_up_for_good() -> None:
    posterior = after((look(male=0.7), 1.0, 0.0), (look(male=0.2), 1.0, LONG_S))
    answer = posterior.answer()
    assert answer.gender[0] < 0.5 and answer.gender_label == 0
    for _ in range(6):
        posterior.add(look(male=0.1), 1.0, LONG_S)
    assert posterior.answer().gender_label == 1


def test_doubt_lets_new_looks_count() -> None:
    stubborn, doubting = (after(*[(look(30), 1.0, LONG_S)] * 12) for _ in range(2))
    doubting.doubt(0.05)
    for posterior in (stubborn, doubting):
        posterior.add(look(60), 1.0, LONG_S)
    assert stubborn.answer().age < 35 < 45 < doubting.answer().age
    assert doubting.answer().age_std > stubborn.answer().age_std


def test_surprise_is_seen_in_every_head() -> None:
    posterior = after((look(), 1.0, 0.0))
    assert posterior.surprise(look()) == pytest.approx(0, abs=1e-3)
    assert posterior.surprise(look(age=40)) == pytest.approx(2)
    assert posterior.surprise(look(male=0.1)) == pytest.approx(1.6, abs=1e-3)
    assert posterior.surprise(look(race=3)) == pytest.approx(1.5, abs=1e-3)


def test_heads_that_a_network_lacks_stay_unknown_and_do_no_harm() -> None:
    nan = math.nan
    genders_only = Attributes([nan], [nan], [[0.1, 0.9]], np.full((1, 5), nan))
    answer = after((genders_only, 1.0, 0.0), (genders_only, 0.5, 1.0)).answer()
    assert math.isnan(answer.age) and math.isnan(answer.age_std) and np.isnan(answer.race).all()
    assert (answer.gender_label, answer.race_label) == (1, -1) and answer.gender[1] > 0.9
    assert after((genders_only, 1.0, 0.0)).surprise(genders_only) == pytest.approx(0, abs=1e-3)


probability = st.floats(0, 1, width=32)
any_look = st.tuples(st.floats(0, 116), st.floats(0.1, 30), probability, st.integers(0, 4), probability)


@given(st.lists(st.tuples(any_look, st.floats(0.01, 1), st.floats(0, 100)), min_size=1, max_size=20))
def test_every_answer_is_a_distribution_within_what_was_said(
    looks: list[tuple[tuple[float, float, float, int, float], float, float]],
) -> None:
    posterior = after(*[(look(*said), quality, since_s) for said, quality, since_s in looks])
    answer = posterior.answer()
    ages = [said[0] for said, _, _ in looks]
    assert min(ages) - 1e-3 <= answer.age <= max(ages) + 1e-3 and 0 < answer.age_std < math.inf
    for chances, label in ((answer.gender, answer.gender_label), (answer.race, answer.race_label)):
        assert chances.sum() == pytest.approx(1) and (chances >= 0).all() and 0 <= label < len(chances)
    assert 0 < posterior.looks <= PosteriorOptions().most_looks
