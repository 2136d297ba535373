"""What an answer is worth: ages in years and in intervals, classes, and groups of people. Pure NumPy, one face a row.

A label or an answer is missing where it is NaN (ages) or negative (classes): an image without that label, a network
without that head. Such rows count for nothing. A metric of no rows is NaN. Fractions are 0…1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.spec.model import GENDERS, RACES
from edgeface.types import Attributes

FEMALE = GENDERS.index("female")
"""The positive class of gender's F1."""

AGE_INTERVALS: tuple[tuple[int, int], ...] = (
    (0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 120),
)  # fmt: skip
"""FairFace's age intervals in whole years, both ends included; "70+" is bounded by the longest lives known."""

AGE_BANDS = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
"""Names of the intervals as FairFace writes them; also the age bands that groups are reported by."""

_LOWER_ENDS = np.array([low for low, _ in AGE_INTERVALS])


def classes(probabilities: NDArray[Any]) -> NDArray[np.int64]:
    """The likeliest class of each row of ``[N, K]``: int64 ``[N]``, -1 where the row is NaN."""
    known = ~np.isnan(probabilities).any(axis=1)
    return np.where(known, probabilities.argmax(axis=1), -1).astype(np.int64)


def age_interval(age_years: NDArray[Any]) -> NDArray[np.int64]:
    """Index of the interval that holds each age: int64 ``[N]``, -1 for NaN. Ages are whole years: 29.9 is 29."""
    ages = np.asarray(age_years, np.float64)
    found = np.clip(np.searchsorted(_LOWER_ENDS, ages, side="right") - 1, 0, len(AGE_INTERVALS) - 1)
    return np.where(np.isnan(ages), -1, found).astype(np.int64)


def age_errors(predicted: NDArray[Any], age: NDArray[Any]) -> NDArray[np.float64]:
    """Absolute errors in years of the rows with a known age."""
    errors = np.abs(np.asarray(predicted, np.float64) - np.asarray(age, np.float64))
    return np.asarray(errors[np.isfinite(errors)])


def age_mae(predicted: NDArray[Any], age: NDArray[Any]) -> float:
    """Mean absolute error in years."""
    return _mean(age_errors(predicted, age))


def age_rmse(predicted: NDArray[Any], age: NDArray[Any]) -> float:
    """Root of the mean squared error in years."""
    return float(np.sqrt(_mean(age_errors(predicted, age) ** 2)))


def age_cs5(predicted: NDArray[Any], age: NDArray[Any]) -> float:
    """Cumulative score: the fraction of faces whose age is at most five years off."""
    return _mean(age_errors(predicted, age) <= 5)


def age_r2(predicted: NDArray[Any], age: NDArray[Any]) -> float:
    """Coefficient of determination: the share of the ages' variance that the answers explain; NaN without variance."""
    said, true = np.asarray(predicted, np.float64), np.asarray(age, np.float64)
    known = np.isfinite(said) & np.isfinite(true)
    spread = float(np.sum((true[known] - _mean(true[known])) ** 2)) if known.any() else 0.0
    return float(1 - np.sum((said - true)[known] ** 2) / spread) if spread > 0 else float("nan")


def age_interval_accuracy(predicted: NDArray[Any], interval: NDArray[Any], within: int = 0) -> float:
    """Fraction of faces whose predicted age (years) falls into the right interval or at most ``within`` away."""
    said = age_interval(predicted)
    known = (np.asarray(interval) >= 0) & (said >= 0)
    return _mean(np.abs(said - np.asarray(interval))[known] <= within)


def accuracy(predicted: NDArray[Any], label: NDArray[Any]) -> float:
    """Fraction of rows whose predicted class is the labelled one."""
    known = _known(predicted, label)
    return _mean((np.asarray(predicted) == np.asarray(label))[known])


def f1(predicted: NDArray[Any], label: NDArray[Any], positive: int) -> float:
    """F1 score of one class: the harmonic mean of its precision and recall, 0 where there was no hit."""
    known = _known(predicted, label)
    said, true = np.asarray(predicted)[known] == positive, np.asarray(label)[known] == positive
    if not known.any():
        return float("nan")
    return float(2 * np.sum(said & true) / max(int(said.sum() + true.sum()), 1))


def macro_f1(predicted: NDArray[Any], label: NDArray[Any], classes: int) -> float:
    """Plain mean of the F1 scores of all classes that are labelled or predicted at least once."""
    known = _known(predicted, label)
    present = set(np.asarray(label)[known].tolist()) | set(np.asarray(predicted)[known].tolist())
    scores = [f1(predicted, label, positive) for positive in range(classes) if positive in present]
    return float(np.mean(scores)) if scores else float("nan")


def recalls(predicted: NDArray[Any], label: NDArray[Any], classes: int) -> list[float]:
    """Recall of every class; NaN where a class is not labelled."""
    said, true = np.asarray(predicted), np.asarray(label)
    return [accuracy(said[true == c], true[true == c]) for c in range(classes)]


@dataclass(frozen=True)
class Labels:
    """What is known of each face.

    ``age`` float ``[N]`` in years or NaN; ``interval`` (index of ``AGE_INTERVALS``), ``gender`` and ``race`` class
    indices int ``[N]`` or -1.
    """

    age: NDArray[Any]
    interval: NDArray[Any]
    gender: NDArray[Any]
    race: NDArray[Any]

    def __getitem__(self, rows: NDArray[Any]) -> Labels:
        return Labels(self.age[rows], self.interval[rows], self.gender[rows], self.race[rows])

    def bands(self) -> NDArray[np.int64]:
        """Age band of each face, from its age or its interval: int64 ``[N]``, -1 where neither is known."""
        exact = np.where(np.isfinite(self.age), age_interval(np.nan_to_num(self.age)), -1)
        return np.asarray(np.where(exact >= 0, exact, self.interval), np.int64)


@dataclass(frozen=True)
class Answers:
    """What was predicted of each face.

    ``age`` float ``[N]`` in years, ``gender`` and ``race`` classes int ``[N]``; NaN and -1 from a network without the
    head.
    """

    age: NDArray[Any]
    gender: NDArray[Any]
    race: NDArray[Any]

    @classmethod
    def of(cls, attributes: Attributes) -> Answers:
        """The ages and the likeliest classes."""
        return cls(attributes.age, classes(attributes.gender), classes(attributes.race))

    def __getitem__(self, rows: NDArray[Any]) -> Answers:
        return Answers(self.age[rows], self.gender[rows], self.race[rows])


def summary(answers: Answers, labels: Labels) -> dict[str, float | int]:
    """All metrics that the labels allow, under the names that ``edgeface evaluate --json`` uses."""
    out: dict[str, float | int] = {"n": len(labels.gender)}
    if np.isfinite(labels.age).any():
        out["age_mae"] = age_mae(answers.age, labels.age)
        out["age_rmse"] = age_rmse(answers.age, labels.age)
        out["age_r2"] = age_r2(answers.age, labels.age)
        out["age_cs5"] = age_cs5(answers.age, labels.age)
    censored = np.where(np.isfinite(labels.age), -1, labels.interval)
    if (censored >= 0).any():
        out["age_interval_accuracy"] = age_interval_accuracy(answers.age, censored)
        out["age_interval_within1"] = age_interval_accuracy(answers.age, censored, within=1)
    out["gender_accuracy"] = accuracy(answers.gender, labels.gender)
    out["gender_f1"] = f1(answers.gender, labels.gender, FEMALE)
    out["race_accuracy"] = accuracy(answers.race, labels.race)
    out["race_f1"] = macro_f1(answers.race, labels.race, len(RACES))
    return out


def groups(answers: Answers, labels: Labels) -> dict[str, dict[str, dict[str, float | int]]]:
    """``summary`` of the faces of each gender, race and age band, and of each gender × race × age band.

    ``{"gender": {"male": {…}, …}, "race": {…}, "age": {"0-2": {…}, …}, "gender_race_age": {"male White 20-29": {…}}}``;
    groups without a face are left out.
    """
    axes: Mapping[str, tuple[NDArray[Any], Sequence[str]]] = {
        "gender": (labels.gender, GENDERS),
        "race": (labels.race, RACES),
        "age": (labels.bands(), AGE_BANDS),
    }
    tables = {axis: _by(answers, labels, codes, names) for axis, (codes, names) in axes.items()}
    known = np.logical_and.reduce([codes >= 0 for codes, _ in axes.values()])
    names = [f"{g} {r} {a}" for g in GENDERS for r in RACES for a in AGE_BANDS]
    cell = (labels.gender * len(RACES) + labels.race) * len(AGE_BANDS) + labels.bands()
    tables["gender_race_age"] = _by(answers, labels, np.where(known, cell, -1), names)
    return tables


def _by(
    answers: Answers, labels: Labels, codes: NDArray[Any], names: Sequence[str]
) -> dict[str, dict[str, float | int]]:
    rows = {name: codes == code for code, name in enumerate(names)}
    return {name: summary(answers[mask], labels[mask]) for name, mask in rows.items() if mask.any()}


def _known(predicted: NDArray[Any], label: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((np.asarray(label) >= 0) & (np.asarray(predicted) >= 0))


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
