"""Crops mixed with others of their batch, so that the network has to answer in between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from trainer.config import Config
from trainer.objective.losses import Targets

Mixed = tuple[Tensor, list[tuple[Targets, float]]]
"""Crops uint8 ``[N, S, S, C]`` and the label sets that count for them, each with its weight; the weights sum to 1."""


def mixed(crops: Tensor, targets: Targets, config: Config, generator: torch.Generator) -> Mixed:
    """A batch after the recipe's mixup or cutmix (where both are on, one of them by chance), else as it is.

    A fourth channel of ``crops`` is the face mask: it leaves them and becomes ``targets.mask``. Its values come from
    the host's ``generator``, so that every process mixes by the same amount.
    """
    if crops.shape[3] > 3:  # a recipe with masks does not mix
        return crops[..., :3].contiguous(), [(with_mask(targets, crops[..., 3]), 1.0)]
    ways = [way for way, alpha in ((mixup, config.mixup), (cutmix, config.cutmix)) if alpha > 0]
    if not ways:
        return crops, [(targets, 1.0)]
    pick, seed = torch.rand((), generator=generator), torch.randint(2**31, (), generator=generator)
    way = ways[int(pick * len(ways))]
    return way(crops, targets, config, np.random.default_rng(int(seed)))


def mixup(crops: Tensor, targets: Targets, config: Config, random: np.random.Generator) -> Mixed:
    """Each crop faded with another. Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018."""
    kept = float(random.beta(config.mixup, config.mixup))
    partner = _partner(crops, random)
    faded = torch.lerp(crops[partner].float(), crops.float(), kept).round_().to(torch.uint8)
    return faded, [(targets, kept), (targets[partner], 1 - kept)]


def cutmix(crops: Tensor, targets: Targets, config: Config, random: np.random.Generator) -> Mixed:
    """A rectangle of each crop from another. Yun et al., "CutMix", ICCV 2019. Weights are the areas' shares."""
    side = crops.shape[1]
    extent = round(side * float(np.sqrt(random.beta(config.cutmix, config.cutmix))))
    top, left = random.integers(0, side - extent + 1, 2)
    partner = _partner(crops, random)
    pasted = crops.clone()
    where = (slice(None), slice(top, top + extent), slice(left, left + extent))
    pasted[where] = crops[partner][where]
    share = extent**2 / side**2
    return pasted, [(targets, 1 - share), (targets[partner], share)]


def with_mask(targets: Targets, mask: Tensor) -> Targets:
    return replace(targets, mask=mask)


def _partner(crops: Tensor, random: np.random.Generator) -> Tensor:
    """For each crop another of the batch: a random permutation."""
    return torch.from_numpy(random.permutation(len(crops))).to(crops.device, non_blocking=True)
