"""How good the network is while it trains: answers on cached crops, judged by ``edgeface.evaluation.metrics``."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeface.evaluation import metrics
from edgeface.types import Attributes
from trainer.models.calibration_values import Calibration
from trainer.config import Config
from trainer.data.samples import SOURCES, Samples
from trainer.models.predictions import filled
from trainer.models.heads import Answer

_BATCH = 256


def attributes_of(
    net: nn.Module, pixels: NDArray[np.uint8], device: torch.device, calibration: Calibration | None = None
) -> Attributes:
    """What the network says of crops uint8 ``[N, S, S, 3]``, in evaluation mode and full precision.

    Without ``calibration`` its own is applied. Absent heads answer NaN.
    """
    answer = Answer(net, calibration).eval()
    names = [head.name for head in answer.heads]
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), _BATCH):
            crops = torch.from_numpy(pixels[start : start + _BATCH]).to(device)
            parts.append([output.cpu().numpy() for output in answer(crops)])
    if not parts:
        return Attributes.empty()
    return filled(dict(zip(names, (np.concatenate(column) for column in zip(*parts)))), len(pixels))


def age_logits_of(net: nn.Module, pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32] | None:
    """The age head's raw output float32 ``[N, K]`` for crops uint8 ``[N, S, S, 3]``; ``None`` without such a head."""
    config: Config = net.config  # type: ignore[assignment]
    if "age" not in config.tasks or not len(pixels):
        return None
    net.eval()
    with torch.inference_mode():
        batches = (torch.from_numpy(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH))
        return np.concatenate([net(crops.to(device))["age"].float().cpu().numpy() for crops in batches])


def answers_of(net: nn.Module, pixels: NDArray[np.uint8], device: torch.device) -> metrics.Answers:
    """The classes and ages of ``attributes_of``."""
    return metrics.Answers.of(attributes_of(net, pixels, device))


def evaluate(
    net: nn.Module, samples: Samples, folds: Iterable[int], device: torch.device
) -> dict[str, dict[str, float | int]]:
    """``metrics.summary`` of each source's pictures in ``folds``, sources without any left out."""
    folds = tuple(folds)
    out = {}
    for code, source in enumerate(SOURCES):
        rows = samples.rows(folds, code)
        if len(rows):
            out[source] = metrics.summary(answers_of(net, samples.pixels[rows], device), samples.labels(rows))
    return out


def penalty(figures: dict[str, dict[str, float | int]]) -> float:
    """One number to choose weights by, lower is better: error rates, with ten years of age error counting as one.

    What a network does not answer or the pictures have no label for counts for nothing.
    """
    total = 0.0
    for summary in figures.values():
        parts = [1 - summary.get(name, 1.0) for name in ("gender_accuracy", "race_accuracy", "age_interval_within1")]
        parts.append(summary.get("age_mae", 0.0) / 10)
        total += sum(part for part in parts if not math.isnan(part))
    return total
