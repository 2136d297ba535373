"""Strong augmentation of a batch of crops on the device that trains, with parameters of its own for every crop.

The parameters are drawn on the host, one row of uniform numbers a crop, and everything they ask for is a few batched
operators. So a GPU is fed without waiting for CPU cores, a crop looks the same on every device, and processes that
share a batch draw the batch's rows together and each use their own.

Light is one linear map of a crop's colours, since brightness, contrast, saturation and grey are linear. Blur is a
separable linear filter: a matrix applied to the rows and to the columns.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import Config

CHANCES = 19
"""Uniform numbers that a crop's augmentation takes."""
_LIGHT_PROBABILITY = 0.7
_SIDES = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)  # of low resolutions, as fractions
_BLURS = torch.linspace(0.5, 1.5, 11)  # standard deviations in pixels
_ERASED_FRAC = (0.02, 0.2)
_ERASED_ASPECT = (0.3, 3.3)
_GREY = 127.5
_PIECE = 16
"""Crops at a time on the CPU, so that a piece stays in its cache from step to step."""
_LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601


class Augment:
    """uint8 crops ``[N, S, S, C]`` → uint8 of the same shape and device.

    The first three channels are RGB. Further ones are masks: they move with the picture and keep their values.
    """

    def __init__(self, config: Config, cooldown: bool = False):
        strength = 0.25 if cooldown else 1.0
        self.rotation = math.radians(config.rotation_deg) * strength
        self.log_scale = config.scale * strength
        self.shift = config.shift * strength
        self.light = not cooldown
        self.colour, self.grayscale = config.colour, config.grayscale
        self.degrade, self.erase = config.degrade, config.erase
        self.blurs = torch.stack([_blur(config.input_size, float(sigma)) for sigma in _BLURS])

    def chances(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """What ``count`` crops are to be augmented with: uniform numbers float32 ``[count, CHANCES]`` on the host."""
        return torch.rand(count, CHANCES, generator=generator)

    def __call__(self, crops: Tensor, chances: Tensor | None = None) -> Tensor:
        """``chances``: rows of ``self.chances``; left out, they are drawn from torch's global generator."""
        chances = self.chances(len(crops)) if chances is None else chances
        if crops.device.type != "cpu":
            return self._augmented(crops, chances)
        return torch.cat(
            [self._augmented(*part) for part in zip(torch.split(crops, _PIECE), torch.split(chances, _PIECE))]
        )

    def _augmented(self, crops: Tensor, chances: Tensor) -> Tensor:
        moved = look(crops, self.jitter(chances[:, :5]))
        if not self.light:
            return moved
        picture = self._coloured(moved[..., :3].permute(0, 3, 1, 2).float(), chances[:, 5:10])
        self._degraded(picture, chances[:, 10:14])
        self._erased(picture, chances[:, 14:19])
        lit = _bytes(picture)
        return torch.cat([lit, moved[..., 3:]], 3) if moved.shape[3] > 3 else lit

    def jitter(self, chances: Tensor) -> Tensor:
        """Where each output pixel looks, for ``look``: flip or not, turn, scale and shift, float32 ``[N, 2, 3]``."""
        flip, turn, zoom, x, y = (chances * 2 - 1).T
        angle, scale = turn * self.rotation, torch.exp(zoom * self.log_scale)
        cos, sin, mirror = scale * torch.cos(angle), scale * torch.sin(angle), torch.where(flip < 0, -1.0, 1.0)
        rows = [cos * mirror, -sin * mirror, 2 * self.shift * x, sin, cos, 2 * self.shift * y]
        return torch.stack(rows, 1).view(-1, 2, 3)

    def _coloured(self, picture: Tensor, chances: Tensor) -> Tensor:
        """Brightness, contrast and saturation factors in 1 ± ``colour``, some crops grey: all in one linear map.

        The result is raised by a half, so that cutting its fraction off rounds.
        """
        factors = 1 + (chances[:, :3] * 2 - 1) * self.colour * (chances[:, 3:4] < _LIGHT_PROBABILITY)
        brightness, contrast, saturation = factors.T
        saturation = saturation * (chances[:, 4] >= self.grayscale)
        eye, luma = torch.eye(3), _LUMA.expand(3, 3)
        mixing = saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * luma
        mixing = (brightness * contrast)[:, None, None] * mixing
        lift = (brightness * (1 - contrast))[:, None].to(picture.device, non_blocking=True)
        mean = picture.mean((2, 3)) @ _LUMA.to(picture.device)
        pixels = picture.flatten(2)
        mapped = torch.baddbmm((lift * mean[:, None] + 0.5)[:, :, None], mixing.to(picture.device), pixels)
        return mapped.view_as(picture)

    def _degraded(self, picture: Tensor, chances: Tensor) -> None:
        """Some crops are shrunk and enlarged again, as a distant face would arrive, some are blurred, in place."""
        small, size, blurred, sigma = chances.T
        levels = torch.where(small < self.degrade, (size * len(_SIDES)).long(), -1)
        for level in sorted(set(levels[levels >= 0].tolist())):
            rows = (levels == level).nonzero().flatten().to(picture.device)
            side = max(8, round(_SIDES[level] * picture.shape[-1]))
            shrunk = F.interpolate(picture[rows], (side, side), mode="bilinear", antialias=True)
            picture[rows] = F.interpolate(shrunk, picture.shape[2:], mode="bilinear")
        rows = (blurred < self.degrade).nonzero().flatten()
        if len(rows):
            matrix = self.blurs[(sigma[rows] * len(self.blurs)).long()][:, None].to(picture.device, non_blocking=True)
            rows = rows.to(picture.device)
            picture[rows] = matrix @ picture[rows] @ matrix.mT

    def _erased(self, picture: Tensor, chances: Tensor) -> None:
        """Some crops lose a grey rectangle, in place. Zhong et al., "Random erasing data augmentation", AAAI 2020."""
        side = picture.shape[-1]
        for row in (chances[:, 0] < self.erase).nonzero().flatten().tolist():
            _, size, shape, x, y = chances[row].tolist()
            area = _ERASED_FRAC[0] + size * (_ERASED_FRAC[1] - _ERASED_FRAC[0])
            aspect = _ERASED_ASPECT[0] * (_ERASED_ASPECT[1] / _ERASED_ASPECT[0]) ** shape
            high, wide = (min(side, max(1, round(side * math.sqrt(part)))) for part in (area * aspect, area / aspect))
            top, left = round(y * (side - high)), round(x * (side - wide))
            picture[row, :, top : top + high, left : left + wide] = _GREY


def look(crops: Tensor, theta: Tensor) -> Tensor:
    """Crops uint8 ``[N, S, S, C]`` through affine maps ``[N, 2, 3]`` from places of the output to places looked at.

    Places run from -1 to 1 across a crop; its edge pixels continue outside. Bilinear; on the CPU OpenCV does it, four
    times as fast as torch and within two grey levels of it.
    """
    if crops.device.type != "cpu":
        grid = F.affine_grid(theta.to(crops.device, non_blocking=True), [len(crops), 1, *crops.shape[1:3]], False)
        seen = F.grid_sample(crops.permute(0, 3, 1, 2).float(), grid, padding_mode="border", align_corners=False)
        return to_bytes(seen)
    import cv2

    side = crops.shape[1]
    matrices = theta.double().numpy().copy()
    centre = (side - 1) / 2  # OpenCV counts pixel centres from 0
    matrices[:, :, 2] = matrices[:, :, 2] * side / 2 + centre - matrices[:, :, :2] @ [centre, centre]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = np.empty_like(crops.numpy())
    for seen, crop, matrix in zip(out, crops.numpy(), matrices):
        cv2.warpAffine(crop, matrix, (side, side), dst=seen, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(out)


def to_bytes(picture: Tensor) -> Tensor:
    """float ``[N, C, S, S]`` in 0…255 (and somewhat outside) → uint8 ``[N, S, S, C]``, rounded."""
    return _bytes(picture + 0.5)


def _bytes(picture: Tensor) -> Tensor:
    """float ``[N, C, S, S]``, a half above its values in 0…255 → uint8 ``[N, S, S, C]``. Overwrites ``picture``."""
    return picture.clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _blur(side: int, sigma: float) -> Tensor:
    """Gaussian blur of a line ``[side, side]``; weights that would fall outside are shared among the others."""
    places = torch.arange(side, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((places - places[:, None]) / sigma).square())
    return weights / weights.sum(1, keepdim=True)
