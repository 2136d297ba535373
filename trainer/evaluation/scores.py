"""How right answers are: ages, classes, six age groups, and the harmonic mean of age and gender.

Figures are plain dicts for JSON, fractions 0…1, years; a figure of no face is NaN. Missing labels and absent heads
count for nothing (``edgeface.evaluation.metrics``).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.evaluation import metrics
from edgeface.evaluation.metrics import AGE_BANDS, Answers, Labels
from edgeface.spec.model import GENDERS, RACES
from edgeface.types import Attributes

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

AGE_GROUPS = ((0, 4), (5, 14), (15, 24), (25, 44), (45, 64), (65, 99))
"""The six groups of the published age-group classifiers, both ends included; older faces count as the last."""
AGE_GROUP_NAMES = tuple(f"{low}-{high}" for low, high in AGE_GROUPS)
CS_YEARS = tuple(range(16))


def scores(said: Attributes, labels: Labels) -> dict[str, Any]:
    """All of this module for one set of faces, by head."""
    return {
        "n": len(labels.gender),
        "age": age_scores(said, labels),
        "gender": class_scores(said.gender, labels.gender, GENDERS),
        "race": class_scores(said.race, labels.race, RACES),
        "age_groups": class_scores(age_group_chances(said), age_group(labels.age), AGE_GROUP_NAMES),
        "harmonic": harmonic_score(Answers.of(said), labels),
    }


def age_scores(said: Attributes, labels: Labels) -> dict[str, Any]:
    """Errors of exact ages, the cumulative score at 0 to 15 years, errors by age band; hits of age intervals.

    ``bias`` is the mean of answer less age: above zero where people are made older.
    """
    censored = np.where(np.isfinite(labels.age), -1, labels.interval)
    away = metrics.age_errors(said.age, labels.age)
    signed = np.asarray(said.age, np.float64) - np.asarray(labels.age, np.float64)
    bands = {}
    for code, name in enumerate(AGE_BANDS):
        rows = (labels.bands() == code) & np.isfinite(signed)
        if rows.any():
            bands[name] = {
                "n": int(rows.sum()),
                "mae": float(np.abs(signed[rows]).mean()),
                "bias": float(signed[rows].mean()),
            }
    return {
        "n": len(away),
        "mae": metrics.age_mae(said.age, labels.age),
        "rmse": metrics.age_rmse(said.age, labels.age),
        "r2": metrics.age_r2(said.age, labels.age),
        "bias": _mean(signed[np.isfinite(signed)]),
        "cs": [_mean(away <= years) for years in CS_YEARS],
        "bands": bands,
        "interval_accuracy": metrics.age_interval_accuracy(said.age, censored),
        "interval_within1": metrics.age_interval_accuracy(said.age, censored, within=1),
    }


def class_scores(chances: NDArray[Any], label: NDArray[Any], names: Sequence[str]) -> dict[str, Any]:
    """Accuracy, macro averages over the classes that are labelled, each class, and the confusion matrix.

    ``chances`` ``[N, K]``, ``label`` ``[N]``; ``confusion[i][j]`` counts faces of class i that were said to be j.
    AUC is one class against the rest (Hand and Till, "A simple generalisation of the area under the ROC curve", 2001,
    average the pairs instead; macro means over the rest are what the field reports).
    """
    said, true = metrics.classes(chances), np.asarray(label, np.int64)
    known = (true >= 0) & (said >= 0)
    matrix = confusion(said, true, len(names))
    each = {}
    for code, name in enumerate(names):
        hits, named, there = matrix[code, code], matrix[:, code].sum(), matrix[code].sum()
        if there or named:
            each[name] = {
                "n": int(there),
                "precision": _ratio(hits, named) if named else 0.0,
                "recall": _ratio(hits, there),
                "f1": metrics.f1(said, true, code),
                "auc": auc(np.asarray(chances, np.float64)[known, code], true[known] == code),
            }
    return {
        "n": int(known.sum()),
        "accuracy": metrics.accuracy(said, true),
        "precision": _macro(each, "precision"),
        "recall": _macro(each, "recall"),
        "f1": metrics.macro_f1(said, true, len(names)),
        "auc": _macro(each, "auc"),
        "classes": each,
        "confusion": matrix.tolist(),
        "names": list(names),
    }


def confusion(said: Codes, true: Codes, classes: int) -> Codes:
    """Counts int64 ``[K, K]``: rows are labels, columns answers."""
    known = (true >= 0) & (said >= 0)
    return np.bincount(true[known] * classes + said[known], minlength=classes**2).reshape(classes, classes)


def auc(score: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties as half (Mann and Whitney, 1947)."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]
    hits, others = int(positive.sum()), int((~positive).sum())
    if not hits or not others:
        return float("nan")
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * others))


def age_group(age: NDArray[Any]) -> Codes:
    """Index of each age's group of ``AGE_GROUPS``: int64 ``[N]``, -1 for NaN. Ages are whole years: 4.9 is 4."""
    years = np.asarray(age, np.float64)
    found = np.searchsorted([low for low, _ in AGE_GROUPS[1:]], years, side="right")
    return np.where(np.isnan(years), -1, found).astype(np.int64)


def age_group_chances(said: Attributes) -> Floats:
    """Chances of the six groups ``[N, 6]``: those of a normal age ± age_std, NaN without an age head."""
    age, std = np.asarray(said.age, np.float64)[:, None], np.asarray(said.age_std, np.float64)[:, None]
    edges = np.array([low for low, _ in AGE_GROUPS[1:]], np.float64)
    below = _normal_cdf((edges - age) / np.maximum(np.where(np.isfinite(std), std, 1.0), 1e-3))
    whole = np.concatenate([np.zeros_like(age), below, np.ones_like(age)], axis=1)
    return np.where(np.isfinite(age), np.diff(whole, axis=1), np.nan)


def harmonic_score(answers: Answers, labels: Labels) -> dict[str, float]:
    """The age-gender judges' one number: harmonic mean of an age score and gender's macro F1.

    The age score is 1 - RMSE / range of the labelled ages, at least 0.
    """
    ages = np.asarray(labels.age, np.float64)
    known = ages[np.isfinite(ages)]
    spread = float(np.ptp(known)) if len(known) else 0.0
    age = max(0.0, 1 - metrics.age_rmse(answers.age, ages) / spread) if spread else float("nan")
    gender = metrics.macro_f1(answers.gender, labels.gender, len(GENDERS))
    both = 2 * age * gender / (age + gender) if age + gender > 0 else (0.0 if age + gender == 0 else float("nan"))
    return {"age_score": age, "gender_f1": gender, "score": both}


def _macro(each: dict[str, dict[str, Any]], figure: str) -> float:
    found = [values[figure] for values in each.values() if not np.isnan(values[figure])]
    return float(np.mean(found)) if found else float("nan")


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


_normal_cdf = np.vectorize(lambda value: 0.5 * (1.0 + erf(value / 2**0.5)), otypes=[np.float64])
