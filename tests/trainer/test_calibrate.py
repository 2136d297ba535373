"""Calibration: figures that are off by a known factor come back, and nothing is fitted to nothing."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeface.errors import ConfigError
from edgeface.evaluation.metrics import AGE_INTERVALS, Labels, age_interval, recalls
from edgeface.evaluation.reliability import age_coverage
from edgeface.types import Attributes
from tests.trainer.calibrated import calibrated, softmax
from trainer.calibrate import adjusted, fit_age_temperature, fit_answers
from trainer.config import Config
from trainer.models.calibration_values import Calibration

COUNT = 4000
NOTHING = Labels(np.full(COUNT, np.nan), np.full(COUNT, -1), np.full(COUNT, -1), np.full(COUNT, -1))


def drawn(probabilities: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A class per row, each as often as its probability says."""
    return np.asarray((probabilities.cumsum(axis=1) < rng.random((len(probabilities), 1))).sum(axis=1))


@pytest.fixture(scope="module")
def honest() -> tuple[Attributes, Labels]:
    """Answers whose probabilities and spreads are exactly right."""
    rng = np.random.default_rng(0)
    gender, race = softmax(rng.normal(0, 2, (COUNT, 2))), softmax(rng.normal(0, 1.5, (COUNT, 5)))
    age, std = rng.uniform(5, 90, COUNT), rng.uniform(1, 9, COUNT)
    true = np.clip(rng.normal(age, std), 0, None)
    labels = Labels(true, np.full(COUNT, -1), drawn(gender, rng), drawn(race, rng))
    return Attributes(age, std, gender, race), labels


def test_honest_answers_are_left_as_they_are(honest: tuple[Attributes, Labels]) -> None:
    fitted = fit_answers(*honest)
    assert fitted.age_std_scale == pytest.approx(1, abs=0.03)
    assert fitted.age_std_power == pytest.approx(1, abs=0.05)
    assert fitted.gender_temperature == pytest.approx(1, abs=0.06)
    assert fitted.race_temperature == pytest.approx(1, abs=0.06)
    assert fitted.race_bias == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("off", [0.4, 2.5])
def test_what_is_off_by_a_factor_comes_back(honest: tuple[Attributes, Labels], off: float) -> None:
    answers, labels = honest
    wrong = dataclasses.replace(
        calibrated(answers, Calibration(gender_temperature=off, race_temperature=off)), age_std=answers.age_std / off
    )
    fitted = fit_answers(wrong, labels)
    assert fitted.age_std_scale == pytest.approx(off, rel=0.05)
    assert fitted.gender_temperature == pytest.approx(1 / off, rel=0.07)
    assert fitted.race_temperature == pytest.approx(1 / off, rel=0.07)
    mended = calibrated(wrong, fitted)
    assert age_coverage(mended.age, mended.age_std, labels.age) == pytest.approx(0.9, abs=0.002)


@pytest.mark.parametrize("surer", [0.8, 1.3])
def test_anothers_calibration_is_adjusted_to_surer_answers(honest: tuple[Attributes, Labels], surer: float) -> None:
    """On faces that flatter both alike, here by too small errors of the age, the ratio is still right."""
    before, labels = honest
    flattered = dataclasses.replace(labels, age=(before.age + (labels.age - before.age) / 4).clip(0))
    after = dataclasses.replace(
        calibrated(before, Calibration(gender_temperature=1 / surer, race_temperature=1 / surer)),
        age_std=before.age_std / surer,
    )
    like = Calibration(age_temperature=0.7, age_std_scale=1.5, gender_temperature=1.2, race_temperature=0.9)
    assert adjusted(like, before, before, flattered) == like
    found = adjusted(like, before, after, flattered)
    assert found.age_temperature == 0.7 and found.race_bias == like.race_bias
    assert found.age_std_scale == pytest.approx(1.5 * surer, rel=0.02)
    assert found.gender_temperature == pytest.approx(1.2 * surer, rel=0.02)
    assert found.race_temperature == pytest.approx(0.9 * surer, rel=0.02)


def test_spreads_that_are_too_much_alike_are_told_apart(honest: tuple[Attributes, Labels]) -> None:
    answers, labels = honest
    flat = dataclasses.replace(answers, age_std=5 * (answers.age_std / 5) ** 0.7)
    fitted = fit_answers(flat, labels)
    assert fitted.age_std_power == pytest.approx(1 / 0.7, rel=0.06)
    assert fitted.age_std_scale == pytest.approx(1, abs=0.03)
    sure = answers.age_std < 2.5
    narrow = calibrated(flat, fitted)
    assert age_coverage(flat.age[sure], flat.age_std[sure], labels.age[sure]) > 0.95
    assert age_coverage(narrow.age[sure], narrow.age_std[sure], labels.age[sure]) == pytest.approx(0.9, abs=0.03)
    assert fit_answers(dataclasses.replace(answers, age_std=np.full(COUNT, 6.0)), labels).age_std_power == 1


def test_age_intervals_alone_also_tell_the_spread(honest: tuple[Attributes, Labels]) -> None:
    answers, labels = honest
    censored = dataclasses.replace(labels, age=np.full(COUNT, np.nan), interval=age_interval(labels.age))
    fitted = fit_answers(dataclasses.replace(answers, age_std=answers.age_std * 2), censored)
    assert fitted.age_std_scale == pytest.approx(0.5, rel=0.06)
    assert censored.interval.max() == len(AGE_INTERVALS) - 1


def test_a_floor_of_recall_is_reached_and_no_more(honest: tuple[Attributes, Labels]) -> None:
    answers, labels = honest
    rare = calibrated(answers, Calibration(race_bias=(1.0, 0, 0, 0, -1.5)))
    before = recalls(rare.race.argmax(axis=1), labels.race, 5)
    fitted = fit_answers(rare, labels, race_floor=0.4)
    after = recalls(calibrated(rare, fitted).race.argmax(axis=1), labels.race, 5)
    assert min(before) < 0.2 and 0.4 <= min(after) < 0.43
    assert fitted.race_bias[0] == 0 < fitted.race_bias[4]
    with pytest.raises(ConfigError, match="race_floor 0.99: no odds of the races bring every recall there"):
        fit_answers(rare, labels, race_floor=0.99)


def test_the_temperature_does_not_change_who_wins(honest: tuple[Attributes, Labels]) -> None:
    answers, _ = honest
    biased = Calibration(race_bias=(0, 0.3, 0, -0.2, 0.5))
    hot = calibrated(answers, dataclasses.replace(biased, race_temperature=3.0))
    assert (hot.race.argmax(axis=1) == calibrated(answers, biased).race.argmax(axis=1)).all()


def skewed_ages() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distributions over 101 years with a long tail upwards, float32 ``[2000, 101]`` logits, and an age from each."""
    rng = np.random.default_rng(3)
    years, start = np.arange(101), rng.integers(5, 60, 2000)[:, None]
    logits = np.where(years < start, -12.0, -(years - start) / rng.uniform(3, 15, (2000, 1)))
    return logits.astype(np.float32), drawn(softmax(logits), rng)


def years_off(logits: NDArray[np.float32], age: NDArray[Any], temperature: float) -> float:
    said = (softmax(logits / temperature) * np.arange(101)).sum(axis=1)
    return float(np.abs(said - age).mean())


def test_the_age_is_taken_where_it_errs_by_the_fewest_years() -> None:
    logits, age = skewed_ages()
    labels = Labels(age.astype(float), np.full(2000, -1), np.full(2000, -1), np.full(2000, -1))
    fitted = fit_age_temperature(logits, labels, Config())
    best = min(years_off(logits, age, temperature) for temperature in np.arange(0.25, 2, 0.05))
    assert 0.25 < fitted < 0.95  # the median of a skewed distribution lies between its mode and its mean
    assert years_off(logits, age, fitted) == pytest.approx(best, abs=0.01)
    assert years_off(logits, age, fitted) < years_off(logits, age, 1.0) - 0.1
    median = (softmax(logits).cumsum(axis=1) < 0.5).sum(axis=1)
    assert np.abs(median - age).mean() == pytest.approx(best, abs=0.1)


def test_the_age_keeps_its_temperature_where_it_has_none_or_too_few_labels() -> None:
    logits, age = skewed_ages()
    unknown = np.full(2000, -1)
    labels = Labels(age.astype(float), unknown, unknown, unknown)
    assert fit_age_temperature(logits[:, :1], labels, Config(age_head="regression")) == 1
    few = np.arange(40)
    assert fit_age_temperature(logits[few], labels[few], Config()) == 1
    assert fit_age_temperature(logits, Labels(np.full(2000, np.nan), unknown, unknown, unknown), Config()) == 1


def test_age_intervals_alone_also_place_the_age() -> None:
    logits, age = skewed_ages()
    intervals, unknown = age_interval(age.astype(float)), np.full(2000, -1)
    fitted = fit_age_temperature(logits, Labels(np.full(2000, np.nan), intervals, unknown, unknown), Config())
    hits = {
        temperature: (age_interval((softmax(logits / temperature) * np.arange(101)).sum(axis=1)) == intervals).mean()
        for temperature in (1.0, fitted)
    }
    assert fitted < 1 and hits[fitted] > hits[1.0]


def test_few_labels_and_absent_heads_change_nothing(honest: tuple[Attributes, Labels]) -> None:
    answers, labels = honest
    assert fit_answers(answers, NOTHING) == Calibration()
    few = np.arange(40)
    assert (
        fit_answers(
            Attributes(answers.age[few], answers.age_std[few], answers.gender[few], answers.race[few]), labels[few], 0.9
        )
        == Calibration()
    )
    blind = dataclasses.replace(answers, race=np.full((COUNT, 5), np.nan), age=np.full(COUNT, np.nan))
    fitted = fit_answers(blind, labels, race_floor=0.5)
    assert fitted.race_temperature == fitted.age_std_scale == 1 and not any(fitted.race_bias)
    assert fitted.gender_temperature == pytest.approx(1, abs=0.06)
    assert np.isnan(calibrated(blind, fitted).race).all()


def test_a_calibration_survives_storage_and_refuses_nonsense() -> None:
    some = Calibration(
        age_temperature=0.6,
        age_std_scale=1.3,
        age_std_power=1.2,
        gender_temperature=1.1,
        race_temperature=0.9,
        race_bias=(0.0, 0.1, 0.0, 0.0, 0.4),
    )
    assert Calibration.from_dict(some.to_dict()) == some
    assert Calibration.from_dict({}) == Calibration()
    with pytest.raises(ConfigError, match="expected scale, power and temperatures above 0 and 5 race biases"):
        Calibration(age_std_scale=0.0)
    with pytest.raises(ConfigError, match="temperatures above 0"):
        Calibration(age_temperature=-1.0)
    with pytest.raises(ConfigError, match="5 race biases"):
        Calibration(race_bias=(0.0, math.inf))
