"""Networks as notebooks write them: convolutions and max pooling, without shortcuts.

``widths`` are the channels of the stages and ``depths`` the convolutions in each; every stage ends by halving the
resolution. So three widths and one convolution each make the three-layer CNN, five the VGG-style one.
"""

from __future__ import annotations

from torch import nn

from edgeface.errors import ConfigError
from trainer.config import Config
from trainer.models.backbone import Backbone, ConvBn


def plain(config: Config) -> Backbone:
    """Per stage ``depths`` × (3×3 convolution, ReLU), then 2×2 max pooling."""
    return _stages(config, batch_norm=False, dropout=0.0)


def plain_bn(config: Config) -> Backbone:
    """``plain`` with batch normalisation after every convolution."""
    return _stages(config, batch_norm=True, dropout=0.0)


def vgg(config: Config) -> Backbone:
    """``plain_bn`` whose stages end with a dropout of whole channels, rising from half of ``dropout`` up to it.

    After Simonyan & Zisserman, "Very deep convolutional networks", ICLR 2015; with ``dropout`` 0.5: 0.25 … 0.5.
    """
    return _stages(config, batch_norm=True, dropout=config.dropout)


def _stages(config: Config, batch_norm: bool, dropout: float) -> Backbone:
    layers: list[nn.Module] = []
    channels, side, last = 3, config.input_size, len(config.widths) - 1
    if side >> len(config.widths) < 1:
        raise ConfigError(f"`widths`: {len(config.widths)} stages halve a crop of {side} pixels to nothing; use fewer")
    for number, (width, depth) in enumerate(zip(config.widths, config.depths)):
        for _ in range(depth):
            layers += [ConvBn(channels, width)] if batch_norm else _conv_relu(channels, width)
            channels = width
        layers.append(nn.MaxPool2d(2))
        if dropout:
            layers.append(nn.Dropout2d(dropout * (0.5 + 0.5 * number / max(last, 1))))
        side //= 2
    return Backbone(nn.Sequential(*layers), channels, side)


def _conv_relu(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
