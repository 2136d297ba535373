"""Metrics against figures counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.evaluation import metrics
from edgeface.evaluation.metrics import AGE_BANDS, AGE_INTERVALS, Answers, Labels
from edgeface.evaluation.reliability import calibration_error

NAN = math.nan


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (-1, "0-2"),
        (2.9, "0-2"),
        (3, "3-9"),
        (19.99, "10-19"),
        (20, "20-29"),
        (69.5, "60-69"),
        (70, "70+"),
        (130, "70+"),
    ],
)
def test_ages_fall_into_whole_year_intervals(age: float, band: str) -> None:
    assert AGE_BANDS[metrics.age_interval(np.array([age]))[0]] == band


def test_intervals_follow_each_other_without_a_gap() -> None:
    assert len(AGE_INTERVALS) == len(AGE_BANDS)
    assert all(before[1] + 1 == after[0] for before, after in zip(AGE_INTERVALS, AGE_INTERVALS[1:]))


def test_age_errors_by_hand() -> None:
    predicted, age = np.array([10.0, 20, 30, 99]), np.array([13.0, 20, 36, NAN])
    assert metrics.age_mae(predicted, age) == pytest.approx(3)
    assert metrics.age_rmse(predicted, age) == pytest.approx(math.sqrt(15))
    assert metrics.age_cs5(predicted, age) == pytest.approx(2 / 3)


def test_interval_hits_and_neighbours() -> None:
    predicted, interval = np.array([25.0, 31, 55, 5]), np.array([3, 3, 3, -1])
    assert metrics.age_interval_accuracy(predicted, interval) == pytest.approx(1 / 3)
    assert metrics.age_interval_accuracy(predicted, interval, within=1) == pytest.approx(2 / 3)


def test_classes_by_hand() -> None:
    said, label = np.array([0, 1, 1, 1, 0]), np.array([0, 1, 0, 1, -1])
    assert metrics.accuracy(said, label) == pytest.approx(3 / 4)
    assert metrics.f1(said, label, positive=1) == pytest.approx(2 * 2 / (3 + 2))
    assert metrics.f1(said, label, positive=0) == pytest.approx(2 * 1 / (1 + 2))
    assert metrics.macro_f1(said, label, 2) == pytest.approx((0.8 + 2 / 3) / 2)
    assert metrics.recalls(said, label, 3) == pytest.approx([0.5, 1.0, NAN], nan_ok=True)


def test_macro_f1_punishes_a_class_that_is_never_predicted() -> None:
    label = np.array([0, 0, 0, 1])
    assert metrics.macro_f1(np.zeros(4, int), label, 5) == pytest.approx((6 / 7) / 2)


def test_nothing_known_is_nan_not_an_error() -> None:
    nothing = np.full(3, -1)
    assert math.isnan(metrics.accuracy(np.zeros(3), nothing))
    assert math.isnan(metrics.f1(np.zeros(3), nothing, 1))
    assert math.isnan(metrics.macro_f1(nothing, nothing, 5))
    assert math.isnan(metrics.age_mae(np.zeros(3), np.full(3, NAN)))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), min_size=1, max_size=40))
def test_scores_stay_between_none_and_all(rows: list[tuple[int, int]]) -> None:
    said, label = np.array(rows).T
    for value in (metrics.accuracy(said, label), metrics.macro_f1(said, label, 5), *metrics.recalls(said, label, 5)):
        assert math.isnan(value) or 0 <= value <= 1


def people() -> tuple[Answers, Labels]:
    labels = Labels(
        np.array([25.0, 62.0, NAN, NAN]), np.array([-1, -1, 3, 8]), np.array([0, 1, 1, -1]), np.array([0, 2, 2, 4])
    )
    return Answers(np.array([27.0, 60.0, 33.0, 71.0]), np.array([0, 1, 0, 1]), np.array([0, 2, 2, 0])), labels


def test_the_summary_has_what_the_labels_allow() -> None:
    answers, labels = people()
    whole = metrics.summary(answers, labels)
    assert whole["n"] == 4 and whole["age_mae"] == pytest.approx(2)
    assert whole["age_interval_accuracy"] == pytest.approx(1 / 2) and whole["age_interval_within1"] == 1
    assert whole["gender_accuracy"] == pytest.approx(2 / 3) and whole["race_accuracy"] == pytest.approx(3 / 4)
    exact = metrics.summary(answers[np.array([0, 1])], labels[np.array([0, 1])])
    assert "age_interval_accuracy" not in exact
    assert "age_mae" not in metrics.summary(answers[np.array([2])], labels[np.array([2])])


def test_groups_by_gender_race_age_and_all_three() -> None:
    tables = metrics.groups(*people())
    assert {name: row["n"] for name, row in tables["gender"].items()} == {"male": 1, "female": 2}
    assert {name: row["n"] for name, row in tables["race"].items()} == {"White": 1, "Asian": 2, "Others": 1}
    assert {name: row["n"] for name, row in tables["age"].items()} == {"20-29": 2, "60-69": 1, "70+": 1}
    assert set(tables["gender_race_age"]) == {"male White 20-29", "female Asian 60-69", "female Asian 20-29"}


@pytest.mark.parametrize(("error", "inside"), [(4.999, True), (5.0, True), (5.001, False), (-5.0, True)])
def test_an_error_of_exactly_five_years_is_within_five(error: float, inside: bool) -> None:
    assert metrics.age_cs5(np.array([40 + error]), np.array([40.0])) == float(inside)


def test_calibration_error_weighs_bins_by_their_faces() -> None:
    """Three faces at 0.9, all right (off by 0.1), one at 0.6, wrong (off by 0.6): (3 x 0.1 + 0.6) / 4."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    label = np.array([0, 0, 0, 1])
    assert calibration_error(probabilities, label) == pytest.approx(0.225)
