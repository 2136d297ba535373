"""How good the network is while it trains: answers on cached crops, judged by ``edgeface.metrics``."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeface import metrics
from edgeface.types import Attributes
from trainer.data import SOURCES, Samples
from trainer.model import Answer

_BATCH = 256


def attributes_of(net: nn.Module, pixels: NDArray[np.uint8], device: torch.device) -> Attributes:
    """What the network says of crops uint8 ``[N, S, S, 3]``, in evaluation mode and full precision."""
    answer = Answer(net).eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), _BATCH):
            crops = torch.from_numpy(pixels[start : start + _BATCH]).to(device)
            parts.append([output.cpu().numpy() for output in answer(crops)])
    return Attributes(*(np.concatenate(column) for column in zip(*parts))) if parts else Attributes.empty()


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
    """One number to choose weights by, lower is better: error rates, with ten years of age error counting as one."""
    total = 0.0
    for summary in figures.values():
        total += (1 - summary["gender_accuracy"]) + (1 - summary["race_accuracy"])
        total += summary.get("age_mae", 0.0) / 10
        total += 1 - summary.get("age_interval_within1", 1.0)
    return total
