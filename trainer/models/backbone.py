"""What every backbone gives to the network around it, and the pieces that several of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.config import Config


class Backbone(NamedTuple):
    """``body``: normalised images float ``[N, 3, S, S]`` → feature map ``[N, channels, side, side]``.

    A body that pools by itself (a transformer's class token) answers ``[N, channels]`` and has ``side`` 0.
    """

    body: nn.Module
    channels: int
    side: int


MakeBackbone = Callable[[Config], Backbone]

_MEAN_STD = {
    "symmetric": (127.5, 64.0),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),  # as torchvision's weights were trained
}


class Normalise(nn.Module):
    """uint8 ``[N, S, S, 3]`` RGB → float32 ``[N, 3, S, S]``: less ``mean``, over ``std``.

    "symmetric" gives about -2 … 2, "imagenet" what ImageNet weights expect. Cast first: TensorRT lets a uint8 input
    feed nothing but a cast.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: str):
        super().__init__()
        for name, value in zip(("mean", "std"), _MEAN_STD[kind]):
            numbers = torch.tensor(value) if isinstance(value, float) else torch.tensor(value)[:, None, None]
            self.register_buffer(name, numbers, persistent=False)  # known from the recipe

    def forward(self, crops: Tensor) -> Tensor:
        return (crops.float().permute(0, 3, 1, 2) - self.mean) / self.std


class ConvBn(nn.Sequential):
    """Convolution without bias, batch normalisation and (optionally) ReLU; a runtime folds it into one operator."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, relu: bool = True):
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class MeanPool(nn.Module):
    """Mean over positions: ``[N, C, H, W]`` → ``[N, C]``, or ``[N, C, 1, 1]`` with ``keepdim``.

    In place of ``nn.AdaptiveAvgPool2d(1)``, which exports as a gather of strides around the same mean.
    """

    def __init__(self, keepdim: bool = False):
        super().__init__()
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3), keepdim=self.keepdim)
