"""The attribute network: a plain residual CNN of 3×3 and 1×1 convolutions, batch normalisation and ReLU.

Nothing in it needs a plugin or an operator that a quantiser treats specially, so one graph serves every run time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeface.spec import GENDERS, RACES
from trainer.config import Config

AGE_BINS = 101
"""One bin per year, 0 … 99, and the last for 100 years and more (UTKFace has 40 such faces, most labels wrong)."""


class Logits(NamedTuple):
    """Raw answers: ``age`` ``[N, AGE_BINS]``, ``gender`` ``[N, 2]``, ``race`` ``[N, 5]``."""

    age: Tensor
    gender: Tensor
    race: Tensor


class ConvBn(nn.Sequential):
    """Convolution without bias, batch normalisation and (optionally) ReLU; a run time folds it into one operator."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, relu: bool = True):
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Bottleneck(nn.Module):
    """Residual block: 1×1 to half the channels, 3×3, 1×1 back. He et al., "Deep residual learning", CVPR 2016."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        self.branch = nn.Sequential(
            ConvBn(channels, inner, 1), ConvBn(inner, inner, 3), ConvBn(inner, channels, 1, relu=False)
        )
        nn.init.zeros_(self.branch[2][1].weight)  # starts as the identity, so that a fresh deep net trains at once

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


class AttributeNet(nn.Module):
    """uint8 crops ``[N, S, S, 3]`` RGB → ``Logits``. Normalisation is inside.

    The loss's class weights teach the network inflated odds for rare races. They keep those from collapsing while it
    learns; in evaluation mode they are divided out again, so that the answer states the data's own odds.
    """

    def __init__(self, config: Config):
        super().__init__()
        layers: list[nn.Module] = [ConvBn(3, config.stem, 3, 2)]
        channels, side = config.stem, -(-config.input_size // 2)
        for width, depth in zip(config.widths, config.depths):
            layers.append(ConvBn(channels, width, 3, 2))
            layers += [Bottleneck(width) for _ in range(depth)]
            channels, side = width, -(-side // 2)
        self.body = nn.Sequential(*layers)
        self.pool = _PositionPool(channels, side)
        self.dropout = nn.Dropout(config.dropout)
        self.age = nn.Linear(channels, AGE_BINS)
        self.gender = nn.Linear(channels, len(GENDERS))
        self.race = nn.Linear(channels, len(RACES))
        log_weights = torch.tensor(config.race_class_weights).log()
        self.register_buffer("race_log_weights", log_weights, persistent=False)  # known from the recipe

    def forward(self, crops: Tensor) -> Logits:
        x = normalise(crops)
        if not torch.compiler.is_exporting():
            x = x.contiguous(memory_format=torch.channels_last)
        features = self.dropout(self.pool(self.body(x)))
        race = self.race(features)
        return Logits(
            self.age(features), self.gender(features), race if self.training else race - self.race_log_weights
        )


class _PositionPool(nn.Module):
    """Weighted mean over positions, learned per channel: on aligned faces a place has a meaning that a mean forgets.

    The global depthwise convolution of MobileFaceNets (Chen et al., CCBR 2018), started as the plain mean.
    """

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, side, groups=channels, bias=False)
        nn.init.constant_(self.conv.weight, 1 / side**2)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).flatten(1)


def normalise(crops: Tensor) -> Tensor:
    """uint8 ``[N, S, S, 3]`` → float32 ``[N, 3, S, S]`` in about -2 … 2.

    Cast first: TensorRT lets a uint8 input feed nothing but a cast.
    """
    return (crops.float().permute(0, 3, 1, 2) - 127.5) / 64.0


class Answer(nn.Module):
    """The whole graph, as it is exported: crops → calibrated answers in the artefact contract's units and order."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """uint8 ``[N, S, S, 3]`` → ``age``, ``age_std`` ``[N]`` years, ``gender`` ``[N, 2]``, ``race`` ``[N, 5]``."""
        logits = self.net(crops)
        distribution = torch.softmax(logits.age.float(), dim=1)
        years = torch.arange(AGE_BINS, dtype=torch.float32, device=distribution.device)
        age = (distribution * years).sum(dim=1)
        variance = (distribution * (years - age[:, None]).square()).sum(dim=1)
        return age, variance.sqrt(), logits.gender.float().softmax(dim=1), logits.race.float().softmax(dim=1)
