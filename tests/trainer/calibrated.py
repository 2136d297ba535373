"""What a calibration makes of answers, in NumPy: what the exported graph is held to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.types import Attributes
from trainer.models.calibration_values import Calibration


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def calibrated(answers: Attributes, calibration: Calibration) -> Attributes:
    """Uncalibrated answers, ``calibration`` applied to all but the ages: those need the distribution behind them."""
    race = _logits(answers.race) + np.array(calibration.race_bias)
    return replace(
        answers,
        age_std=calibration.spread(answers.age_std),
        gender=softmax(_logits(answers.gender) / calibration.gender_temperature),
        race=softmax(race / calibration.race_temperature),
    )


def _logits(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    return np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-30))  # NaN stays NaN
