"""Strong augmentation of a batch of crops on the device that trains, with parameters of its own for every crop.

The parameters are drawn on the host, one row of uniform numbers a crop; ``trainer.augmentation.ops`` carries them out.
So a
GPU is fed without waiting for CPU cores, and processes that share a batch draw the batch's rows together and each use
their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.augmentation.ops import Plan, with_opencv, with_torch
from trainer.config import Config

CHANCES = 19
"""Uniform numbers that a crop's augmentation takes."""
_LIGHT_PROBABILITY = 0.7
_SIDES = torch.tensor([0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7])  # of low resolutions, as fractions
_SIGMAS = (0.5, 1.5)  # of blur, in pixels
_ERASED_FRAC = (0.02, 0.2)
_ERASED_ASPECT = (0.3, 3.3)
_LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class Augment:
    """uint8 crops ``[N, S, S, C]`` → uint8 of the same shape and device.

    The first three channels are RGB. Further ones are masks: they move with the image and keep their values. In the
    ``cooldown`` crops are only flipped and moved a little.
    """

    config: Config
    cooldown: bool = False

    def chances(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """What ``count`` crops are to be augmented with: uniform numbers float32 ``[count, CHANCES]`` on the host."""
        return torch.rand(count, CHANCES, generator=generator)

    def __call__(self, crops: Tensor, chances: Tensor | None = None) -> Tensor:
        """``chances``: rows of ``self.chances``; left out, they are drawn from torch's global generator."""
        plan = self.plan(self.chances(len(crops)) if chances is None else chances, crops.shape[1])
        return with_opencv(crops, plan) if crops.device.type == "cpu" else with_torch(crops, plan)

    def plan(self, chances: Tensor, side: int) -> Plan:
        """What is done to each crop of ``side`` pixels."""
        look = self.jitter(chances[:, :5])
        if self.cooldown:
            return Plan(look)
        mixing, lift = self._light(chances[:, 5:10])
        degrade, (small, size, blurred, sigma) = self.config.degrade, chances[:, 10:14].T
        sides = (_SIDES[(size * len(_SIDES)).long()] * side).round().long().clamp_min(8)
        return Plan(
            look,
            mixing,
            lift,
            small_side=torch.where(small < degrade, sides, 0),
            sigma=torch.where(blurred < degrade, _SIGMAS[0] + sigma * (_SIGMAS[1] - _SIGMAS[0]), 0.0),
            erased=self._rectangles(chances[:, 14:19], side),
        )

    def jitter(self, chances: Tensor) -> Tensor:
        """Where each output pixel looks (``Plan.look``): flip or not, turn, scale and shift, float32 ``[N, 2, 3]``."""
        strength = 0.25 if self.cooldown else 1.0
        flip, turn, zoom, x, y = (chances * 2 - 1).T
        angle, scale = (
            turn * math.radians(self.config.rotation_deg) * strength,
            torch.exp(zoom * self.config.scale * strength),
        )
        cos, sin, mirror = scale * torch.cos(angle), scale * torch.sin(angle), torch.where(flip < 0, -1.0, 1.0)
        shift = 2 * self.config.shift * strength  # a crop is two wide
        return torch.stack([cos * mirror, -sin * mirror, shift * x, sin, cos, shift * y], 1).view(-1, 2, 3)

    def _light(self, chances: Tensor) -> tuple[Tensor, Tensor]:
        """Brightness, contrast and saturation factors in 1 ± ``colour``, some crops grey; all are one linear map."""
        factors = 1 + (chances[:, :3] * 2 - 1) * self.config.colour * (chances[:, 3:4] < _LIGHT_PROBABILITY)
        brightness, contrast, saturation = factors.T
        saturation = (saturation * (chances[:, 4] >= self.config.grayscale))[:, None, None]
        mixing = saturation * torch.eye(3) + (1 - saturation) * _LUMA
        return (brightness * contrast)[:, None, None] * mixing, (brightness * (1 - contrast))[:, None] * _LUMA

    def _rectangles(self, chances: Tensor, side: int) -> Tensor:
        """Some crops lose a rectangle. Zhong et al., "Random erasing data augmentation", AAAI 2020."""
        chance, size, shape, x, y = chances.T
        area = _ERASED_FRAC[0] + size * (_ERASED_FRAC[1] - _ERASED_FRAC[0])
        aspect = _ERASED_ASPECT[0] * (_ERASED_ASPECT[1] / _ERASED_ASPECT[0]) ** shape
        height, width = ((part.sqrt() * side).round().clamp(1, side) for part in (area * aspect, area / aspect))
        top, left = (y * (side - height)).round(), (x * (side - width)).round()
        edges = torch.stack([top, top + height, left, left + width], 1).long()
        return torch.where((chance < self.config.erase)[:, None], edges, 0)
