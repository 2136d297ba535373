"""Whether answers mean what they say: chances against frequencies, and age intervals against ages. Pure NumPy.

Missing labels and answers as in ``metrics``: such rows count for nothing, a figure of no rows is NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Z90 = 1.6449
"""Standard deviations to either side of a normal mean that hold 90 %: the age interval is age ± ``Z90`` · age_std."""

BINS = 15


class Bin(NamedTuple):
    """The ``n`` answers whose chance of the class they name lies in one bin: how sure they were, how often right."""

    n: int
    confidence: float
    accuracy: float


def reliability(probabilities: NDArray[Any], label: NDArray[Any], bins: int = BINS) -> list[Bin]:
    """The bins of a reliability diagram, least sure first; equally wide over 0…1, empty ones left out.

    ``probabilities`` ``[N, K]``, ``label`` class indices ``[N]``. Guo et al., "On calibration of modern neural
    networks", ICML 2017.
    """
    known = (np.asarray(label) >= 0) & np.isfinite(probabilities).all(axis=1)
    chances, true = np.asarray(probabilities, np.float64)[known], np.asarray(label)[known]
    sure, right = chances.max(axis=1, initial=0.0), chances.argmax(axis=1) == true
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    return [
        Bin(int(inside.sum()), float(sure[inside].mean()), float(right[inside].mean()))
        for inside in (place == number for number in range(bins))
        if inside.any()
    ]


def calibration_error(probabilities: NDArray[Any], label: NDArray[Any], bins: int = BINS) -> float:
    """Expected calibration error (ECE): mean distance of confidence and accuracy over the bins, weighted by faces."""
    found = reliability(probabilities, label, bins)
    total = sum(item.n for item in found)
    return sum(item.n * abs(item.confidence - item.accuracy) for item in found) / total if total else float("nan")


def age_coverage(age: NDArray[Any], age_std: NDArray[Any], true_age: NDArray[Any]) -> float:
    """Fraction of known ages inside age ± ``Z90`` · age_std (years); 0.9 where the spread is honest."""
    away = np.abs(np.asarray(age, np.float64) - np.asarray(true_age, np.float64))
    known = np.isfinite(away) & np.isfinite(age_std)
    inside = away[known] <= Z90 * np.asarray(age_std, np.float64)[known]
    return float(inside.mean()) if known.any() else float("nan")
