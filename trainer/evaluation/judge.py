"""One artefact on one data set: everything that is measured, as plain values for JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.evaluation.labelled_crops import LabelledCrops
from edgeface.evaluation.metrics import Answers, Labels, summary
from edgeface.types import Attributes
from trainer.evaluation.artefacts import Estimator
from trainer.evaluation.calibration_metrics import honesty
from trainer.evaluation.fairness import fairness
from trainer.evaluation.robustness import CAUSES, STRENGTHS, distorted
from trainer.evaluation.scores import scores

TRACKED = ("age_mae", "age_interval_within1", "gender_accuracy", "race_accuracy")
"""Figures of ``metrics.summary`` that robustness follows, where the labels allow them."""


def judge(estimator: Estimator, crops: LabelledCrops, robust: int = 0) -> dict[str, Any]:
    """Scores, fairness, honesty and, on ``robust`` faces spread evenly (0: none), robustness. NaN becomes ``None``."""
    said = estimator.from_crops(crops.pixels)
    out: dict[str, Any] = figures(said, crops.labels)
    if robust:
        rows = np.unique(np.linspace(0, len(crops) - 1, min(robust, len(crops))).astype(np.int64))
        out["robustness"] = robustness(estimator, crops.pixels[rows], crops.labels[rows])
    return dict(plain(out))


def figures(said: Attributes, labels: Labels) -> dict[str, Any]:
    """What answers alone tell."""
    return {
        **scores(said, labels),
        "fairness": fairness(Answers.of(said), labels),
        "honesty": honesty(said, labels),
    }


def robustness(estimator: Estimator, pixels: NDArray[np.uint8], labels: Labels) -> dict[str, Any]:
    """``{"n", "clean": {figure: value}, "causes": {cause: {"unit", "amounts", "figures": {figure: [3 values]}}}}``."""

    def tracked(shown: NDArray[np.uint8]) -> dict[str, float]:
        whole = summary(Answers.of(estimator.from_crops(shown)), labels)
        return {name: whole[name] for name in TRACKED if name in whole}

    causes = {}
    for cause, (_, amounts, unit) in CAUSES.items():
        by_strength = [tracked(distorted(pixels, cause, strength)) for strength in STRENGTHS]
        columns = {name: [row[name] for row in by_strength] for name in by_strength[0]}
        causes[cause] = {"unit": unit, "amounts": list(amounts), "figures": columns}
    return {"n": len(pixels), "clean": tracked(pixels), "causes": causes}


def plain(value: Any) -> Any:
    """``value`` as JSON has it: NaN and infinity as ``None``, at any depth."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
