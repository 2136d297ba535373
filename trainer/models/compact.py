"""The compact backbone: a plain residual CNN of 3×3 and 1×1 convolutions, batch normalisation and ReLU.

Nothing in it needs a plugin or an operator that a quantiser treats specially, so one graph serves every runtime.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config import Config
from trainer.models.backbone import Backbone, ConvBn


class Bottleneck(nn.Module):
    """Residual block: 1×1 to half the channels, 3×3, 1×1 back. He et al., "Deep residual learning", CVPR 2016."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        last = ConvBn(inner, channels, 1, relu=False)
        self.branch = nn.Sequential(ConvBn(channels, inner, 1), ConvBn(inner, inner, 3), last)
        nn.init.zeros_(last[1].get_parameter("weight"))  # the identity at first, so that a deep net trains at once

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


def compact(config: Config) -> Backbone:
    """``stem`` channels at half the resolution, then per stage a halving convolution and ``depths`` blocks."""
    layers: list[nn.Module] = [ConvBn(3, config.stem, 3, 2)]
    channels, side = config.stem, -(-config.input_size // 2)
    for width, depth in zip(config.widths, config.depths):
        layers.append(ConvBn(channels, width, 3, 2))
        layers += [Bottleneck(width) for _ in range(depth)]
        channels, side = width, -(-side // 2)
    return Backbone(nn.Sequential(*layers), channels, side)
