"""How good the network is while it trains: answers on cached crops, judged by ``edgeface.evaluation.metrics``."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from edgeface.evaluation import metrics
from trainer.data.samples import SOURCES, Samples
from trainer.models.predictions import answers_of


def evaluate(
    net: nn.Module, samples: Samples, folds: Iterable[int], device: torch.device
) -> dict[str, dict[str, float | int]]:
    """``metrics.summary`` of each source's images in ``folds``, sources without any left out."""
    folds = tuple(folds)
    out = {}
    for code, source in enumerate(SOURCES):
        rows = samples.rows(folds, code)
        if len(rows):
            out[source] = metrics.summary(answers_of(net, samples.pixels[rows], device), samples.labels(rows))
    return out


def penalty(figures: dict[str, dict[str, float | int]]) -> float:
    """One number to choose weights by, lower is better: error rates, with ten years of age error counting as one.

    What a network does not answer or the images have no label for counts for nothing.
    """
    total = 0.0
    for summary in figures.values():
        parts = [1 - summary.get(name, 1.0) for name in ("gender_accuracy", "race_accuracy", "age_interval_within1")]
        parts.append(summary.get("age_mae", 0.0) / 10)
        total += sum(part for part in parts if not math.isnan(part))
    return total
