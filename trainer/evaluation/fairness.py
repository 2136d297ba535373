"""Who gets worse answers than others: gaps between groups, equalised odds, demographic parity.

Differences are largest less smallest value over the groups of one axis, 0 (equal) to 1. Groups with fewer than
``FEWEST`` faces are not judged: their figures would be chance.
Equalised odds: Hardt, Price, Srebro, "Equality of opportunity in supervised learning", NeurIPS 2016; demographic
parity: Dwork et al., "Fairness through awareness", ITCS 2012.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.evaluation import metrics
from edgeface.evaluation.metrics import AGE_BANDS, Answers, Labels
from edgeface.spec.model import GENDERS, RACES

FEWEST = 30

Groups = Mapping[str, NDArray[np.bool_]]


def fairness(answers: Answers, labels: Labels) -> dict[str, Any]:
    """By axis (gender, race, age): each group's figures, the gaps between best and worst, and the class differences.

    ``{"race": {"groups": {"White": {"n", "age_mae", "gender_accuracy", …}}, "gaps": {"age_mae": …},
    "gender": {"equalised_odds": …, "demographic_parity": …, "demographic_parity_labels": …}}}``; a head's differences
    are left out on its own axis, where they have no meaning. ``demographic_parity_labels`` is the same difference of
    the labels themselves: what a faultless network would show on these faces.
    """
    return {axis: _axis(axis, groups, answers, labels) for axis, groups in axes(labels).items()}


def axes(labels: Labels, fewest: int = FEWEST) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Rows (bool ``[N]``) of each group with ``fewest`` faces or more, by axis."""
    bands = labels.bands()
    codes: Mapping[str, tuple[NDArray[Any], Sequence[str]]] = {
        "gender": (labels.gender, GENDERS),
        "race": (labels.race, RACES),
        "age": (bands, AGE_BANDS),
    }
    return {
        axis: {name: rows for code, name in enumerate(names) if (rows := values == code).sum() >= fewest}
        for axis, (values, names) in codes.items()
    }


def _axis(axis: str, groups: Groups, answers: Answers, labels: Labels) -> dict[str, Any]:
    figures = {name: _figures(answers[rows], labels[rows]) for name, rows in groups.items()}
    names = ("age_mae", "age_interval_within1", "gender_accuracy", "race_accuracy")
    out: dict[str, Any] = {
        "groups": figures,
        "gaps": {figure: spread([group[figure] for group in figures.values()]) for figure in names},
    }
    if axis != "gender":
        out["gender"] = differences(answers.gender, labels.gender, len(GENDERS), groups)
    if axis != "race":
        out["race"] = differences(answers.race, labels.race, len(RACES), groups)
    return out


def differences(said: NDArray[Any], true: NDArray[Any], classes: int, groups: Groups) -> dict[str, float]:
    """Equalised odds and demographic parity differences of one head, the worst over its classes.

    Equalised odds: the larger of the differences in true and in false positive rate. Demographic parity: the
    difference in how often a class is named.
    """
    known = (np.asarray(true) >= 0) & (np.asarray(said) >= 0)
    odds, parity, labelled = [], [], []
    for code in range(classes):
        named, there = said == code, true == code
        parts = [rows & known for rows in groups.values()]
        hits = spread([_share(named, rows & there) for rows in parts])
        alarms = spread([_share(named, rows & ~there) for rows in parts])
        odds += [hits, alarms]
        parity.append(spread([_share(named, rows) for rows in parts]))
        labelled.append(spread([_share(there, rows) for rows in parts]))
    worst = (_largest(values) for values in (odds, parity, labelled))
    return dict(zip(("equalised_odds", "demographic_parity", "demographic_parity_labels"), worst))


def spread(values: Sequence[float]) -> float:
    """Largest less smallest of those that are known; NaN with fewer than two."""
    known = [value for value in values if not np.isnan(value)]
    return max(known) - min(known) if len(known) > 1 else float("nan")


def _figures(answers: Answers, labels: Labels) -> dict[str, Any]:
    whole = metrics.summary(answers, labels)
    names = ("n", "age_mae", "age_interval_within1", "gender_accuracy", "race_accuracy")
    return {name: whole.get(name, float("nan")) for name in names}


def _share(hits: NDArray[np.bool_], rows: NDArray[np.bool_]) -> float:
    """Of the rows, the fraction that is a hit; unknown where they are too few to say."""
    return float(hits[rows].mean()) if rows.sum() >= FEWEST // 3 else float("nan")


def _largest(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return max(known) if known else float("nan")
