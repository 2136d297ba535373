"""Whether answers are as sure as they may be: reliability of the classes, coverage of the age interval by group."""

from __future__ import annotations

from typing import Any

from edgeface.evaluation.metrics import Labels
from edgeface.evaluation.reliability import age_coverage, calibration_error, reliability
from edgeface.types import Attributes
from trainer.evaluation.fairness import axes


def honesty(said: Attributes, labels: Labels) -> dict[str, Any]:
    """``{"age": {"coverage90", "groups": {"gender": {"male": …}, "race": {…}}}, "gender": {"ece", "bins"}, "race"}``.

    ``coverage90`` is the fraction of ages inside the 90 % interval; ``bins`` are (faces, confidence, accuracy).
    """
    groups = {
        axis: {name: age_coverage(said.age[rows], said.age_std[rows], labels.age[rows]) for name, rows in parts.items()}
        for axis, parts in axes(labels).items()
    }
    return {
        "age": {"coverage90": age_coverage(said.age, said.age_std, labels.age), "groups": groups},
        **{
            head: {
                "ece": calibration_error(chances, label),
                "bins": [list(item) for item in reliability(chances, label)],
            }
            for head, chances, label in (("gender", said.gender, labels.gender), ("race", said.race, labels.race))
        },
    }
