"""What a candidate loses against its reference on the same faces, and how sure that is. Pure NumPy.

A *loss* is a difference of means over the same faces, above zero where the candidate is worse: years of absolute age
error, or points of accuracy (0…100). Every face is answered by both artefacts, so the bootstrap draws faces, not
answers: intervals are paired and far narrower than those of two accuracies apart.

Groups are many and the worst is picked after looking, so its interval alone would cry wolf now and then. The gate
asks for more: that the interval's nearer end lies beyond an allowance of a point, in groups of 50 faces or more. On the
31 such groups of UTKFace's fold 1, with 3 % of the answers changed at random, that was so once in fifteen tries, while
a loss of 3 points of all women, or of 15 points of 83 people, was found nine times in ten (tests/parity/test_stats.py).
(Bootstrap: Efron and Tibshirani, "An introduction to the bootstrap", 1993, ch. 13.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeface.evaluation import metrics
from edgeface.evaluation.metrics import AGE_BANDS, Answers, Labels
from edgeface.spec.model import GENDERS, RACES

Floats64 = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000
UNITS = {"age": "years", "age_interval": "points", "gender": "points", "race": "points"}
"""What can be lost, by head. A face's label is either its age or its age interval."""
_CHUNK = 64


@dataclass(frozen=True, eq=False)
class Group:
    """Faces (``rows`` bool ``[N]``) that share a label of ``axis``: "gender", "race", "age" or "gender_race_age"."""

    axis: str
    name: str
    rows: NDArray[np.bool_]


@dataclass(frozen=True)
class Loss:
    """Mean loss of ``n`` faces and its 95 % interval."""

    n: int
    mean: float
    low: float
    high: float


def errors(answers: Answers, labels: Labels) -> dict[str, Floats64]:
    """Error of every face by head: years, or 0 and 100 points; NaN where the label is missing. Heads without any label,
    and those that the network does not have, are left out."""
    age = np.abs(np.asarray(answers.age, np.float64) - np.asarray(labels.age, np.float64))
    censored = np.where(np.isfinite(labels.age), -1, labels.interval)
    out = {
        "age": age,
        "age_interval": _misses(metrics.age_interval(answers.age), censored),
        "gender": _misses(answers.gender, labels.gender),
        "race": _misses(answers.race, labels.race),
    }
    return {head: values for head, values in out.items() if np.isfinite(values).any()}


def _misses(predicted: NDArray[np.int64], label: NDArray[np.int64]) -> Floats64:
    return np.where((label >= 0) & (predicted >= 0), np.where(predicted != label, 100.0, 0.0), np.nan)


def groups_of(labels: Labels) -> list[Group]:
    """Every gender, race, age band and gender × race × age band that has a face."""
    bands = labels.bands()
    axes: Mapping[str, tuple[NDArray[np.int64], Sequence[str]]] = {
        "gender": (labels.gender, GENDERS),
        "race": (labels.race, RACES),
        "age": (bands, AGE_BANDS),
    }
    found = [
        Group(axis, name, codes == code) for axis, (codes, names) in axes.items() for code, name in enumerate(names)
    ]
    for g, gender in enumerate(GENDERS):
        for r, race in enumerate(RACES):
            rows = (labels.gender == g) & (labels.race == r)
            found += [
                Group("gender_race_age", f"{gender} {race} {band}", rows & (bands == b))
                for b, band in enumerate(AGE_BANDS)
            ]
    return [group for group in found if group.rows.any()]


def losses(
    values: Floats64, groups: Sequence[NDArray[np.bool_]], min_faces: int = 1, seed: int = 0
) -> dict[tuple[int, int], Loss]:
    """Loss of each group (bool ``[N]``) in each column of ``values``: ``{(group, column): Loss}``.

    ``values`` float64 ``[N, K]`` are differences, a face a row, NaN where it does not count. Groups with fewer than
    ``min_faces`` such faces are left out. The intervals are the percentiles of 2000 resamples of all faces, drawn
    with ``seed``.
    """
    known = np.isfinite(values)
    cells = [(g, k) for g, rows in enumerate(groups) for k in range(values.shape[1])]
    cells = [(g, k) for g, k in cells if np.count_nonzero(groups[g] & known[:, k]) >= max(min_faces, 1)]
    if not cells:
        return {}
    members = np.stack([groups[g] & known[:, k] for g, k in cells], axis=1).astype(np.float64)
    amounts = members * np.nan_to_num(values)[:, [k for _, k in cells]]
    counts, means = members.sum(axis=0), amounts.sum(axis=0) / members.sum(axis=0)
    resampled = _resampled_means(amounts, members, means, seed)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return {
        cell: Loss(int(counts[number]), float(means[number]), float(low[number]), float(high[number]))
        for number, cell in enumerate(cells)
    }


def _resampled_means(amounts: Floats64, members: Floats64, means: Floats64, seed: int) -> Floats64:
    """Means ``[R, C]`` of faces drawn with replacement; ``means`` where a resample has none of a group."""
    rng, (faces, cells) = np.random.default_rng(seed), amounts.shape
    design, parts = np.concatenate([amounts, members], axis=1), []
    for start in range(0, RESAMPLES, _CHUNK):
        draws = min(_CHUNK, RESAMPLES - start)
        picked = rng.integers(0, faces, (draws, faces)) + np.arange(draws)[:, None] * faces
        weights = np.bincount(picked.ravel(), minlength=draws * faces).reshape(draws, faces)
        totals = weights.astype(np.float64) @ design
        sums, counts = totals[:, :cells], totals[:, cells:]
        parts.append(np.divide(sums, counts, out=means[None].repeat(draws, axis=0), where=counts > 0))
    return np.concatenate(parts)
