"""Strong augmentation of a batch of crops, cheap enough for one CPU core.

Geometry: every crop gets its own similarity jitter through *the* preprocess's ``warp``, as if its landmarks had been
found a little elsewhere. Light and quality: torchvision v2 transforms, which draw their parameters once a call and are
therefore called on small groups of crops: per crop they would cost more than the network's own step.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeface.preprocess import warp
from trainer.config import Config
from trainer.vision import v2

_GROUP = 8
"""Crops that share the parameters of one call."""


class Augment:
    """uint8 crops ``[N, S, S, 3]`` → uint8 of the same shape. Random numbers come from torch's global generator."""

    def __init__(self, config: Config, cooldown: bool = False):
        strength = 0.25 if cooldown else 1.0
        self.rotation = math.radians(config.rotation_deg) * strength
        self.log_scale = config.scale * strength
        self.shift = config.shift * strength
        self.light = None if cooldown else _light(config)

    def __call__(self, crops: NDArray[np.uint8]) -> Tensor:
        moved = torch.from_numpy(np.stack([warp(c, m, c.shape[0]) for c, m in zip(crops, self._jitter(crops))]))
        if self.light is None:
            return moved
        groups = [self.light(group) for group in moved.permute(0, 3, 1, 2).split(_GROUP)]
        return torch.cat(groups).permute(0, 2, 3, 1)

    def _jitter(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """One matrix a crop: flip or not, rotate, scale and shift about the centre: float64 ``[N, 2, 3]``."""
        count, centre = len(crops), crops.shape[1] / 2
        flip, turn, zoom, x, y = torch.rand(5, count, dtype=torch.float64).numpy() * 2 - 1
        angle, scale = turn * self.rotation, np.exp(zoom * self.log_scale)
        cos, sin, mirror = scale * np.cos(angle), scale * np.sin(angle), np.sign(flip)
        linear = np.stack([np.stack([cos * mirror, -sin], 1), np.stack([sin * mirror, cos], 1)], 1)
        offset = centre - linear @ [centre, centre] + 2 * centre * self.shift * np.stack([x, y], 1)
        return np.concatenate([linear, offset[:, :, None]], axis=2)


def _light(config: Config) -> nn.Module:
    """Colour, contrast, blur, resolution, grey and covered patches."""
    amount = config.colour
    return v2.Compose(
        [
            v2.RandomApply([v2.ColorJitter(amount, amount, amount)], p=0.7),
            v2.RandomApply([LowResolution()], p=config.degrade),
            v2.RandomApply([v2.GaussianBlur(5, (0.5, 1.5))], p=config.degrade),
            v2.RandomGrayscale(p=config.grayscale),
            v2.RandomErasing(p=config.erase, scale=(0.02, 0.2), value=127),
        ]
    )


class LowResolution(nn.Module):
    """Shrink to 0.35–0.7 of the side and enlarge again, as a distant face would arrive."""

    def forward(self, crops: Tensor) -> Tensor:
        side = crops.shape[-1]
        small = max(8, round(side * float(torch.empty(1).uniform_(0.35, 0.7))))
        shrunk = v2.functional.resize(crops, [small, small], antialias=True)
        return v2.functional.resize(shrunk, [side, side], antialias=True)
