"""The attribute network of a recipe: backbone, attention, pooling and one head a task."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from edgeface.errors import ConfigError
from trainer.config import Config
from trainer.models.attention import ATTENTION
from trainer.models.backbone import Backbone, MakeBackbone, MeanPool, Normalise
from trainer.models.calibration_values import Calibration
from trainer.models.compact import compact
from trainer.models.decoder import MaskDecoder
from trainer.models.heads import make_head
from trainer.models.plain import plain, plain_bn, vgg
from trainer.models.vision import VISION

BACKBONES: dict[str, MakeBackbone] = {
    "compact": compact,
    "plain": plain,
    "plain_bn": plain_bn,
    "vgg": vgg,
    **VISION,
}
"""By name: config → ``Backbone``. A new one is one function and its line here."""

Logits = dict[str, Tensor]
"""Raw outputs by task, those of ``config.tasks`` only: "age" ``[N, K]`` (distribution 101, regression 1, ordinal 100,

groups G), "gender" ``[N, 2]`` or ``[N, 1]``, "race" ``[N, 5]``; in training with a decoder "mask" ``[N, 1, S, S]``,

of a recipe with ``embedding`` "embedding" ``[N, D]``.
"""


class AttributeNet(nn.Module):
    """uint8 crops ``[N, S, S, 3]`` RGB → ``Logits``. Normalisation is inside.

    The loss's class weights teach the network inflated odds for rare races. They keep those from collapsing while it
    learns; in evaluation mode they are divided out again, so that the answer states the data's own odds.
    """

    race_log_weights: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.calibration = Calibration()
        self.normalise = Normalise(config.normalisation)
        backbone = _backbone(config)
        self.body = backbone.body
        self.attention = ATTENTION[config.attention](backbone.channels) if config.attention else nn.Identity()
        self.pool, features = _pool(config.pool, backbone)
        self.dropout = nn.Dropout(config.dropout)
        for task in config.tasks:
            self.add_module(task, make_head(task, features, config))
        self.decoder = MaskDecoder(backbone.channels, config.input_size) if config.decoder else None
        self.embedding = nn.Linear(features, config.embedding) if config.embedding else None
        log_weights = torch.tensor(config.race_class_weights).log()
        self.register_buffer("race_log_weights", log_weights, persistent=False)  # known from the recipe

    def forward(self, crops: Tensor) -> Logits:
        features = self.features(crops)
        pooled = self.dropout(self.pool(features))
        logits: Logits = {task: self.get_submodule(task)(pooled) for task in self.config.tasks}
        if self.training and self.decoder is not None:
            logits["mask"] = self.decoder(features)
        if self.training and self.embedding is not None:
            logits["embedding"] = self.embedding(pooled)
        if not self.training and "race" in logits:
            logits["race"] = logits["race"] - self.race_log_weights
        return logits

    def features(self, crops: Tensor) -> Tensor:
        """The last feature map ``[N, C, s, s]`` that is pooled (a transformer: its class token ``[N, D]``)."""
        x = self.normalise(crops)
        if self.config.channels_last and not torch.compiler.is_exporting():
            x = x.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.attention(self.body(x))
        return features

    def pooled(self, crops: Tensor) -> Tensor:
        """What the heads see, before dropout: ``[N, D]``."""
        pooled: Tensor = self.pool(self.features(crops))
        return pooled

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Those that a pretrained start brings, and that frozen epochs leave alone."""
        return self.body.parameters()


class PositionPool(nn.Module):
    """Weighted mean over positions, learned per channel: on aligned faces a place has a meaning that a mean forgets.

    The global depthwise convolution of MobileFaceNets (Chen et al., CCBR 2018), started as the plain mean.
    """

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, side, groups=channels, bias=False)
        nn.init.constant_(self.conv.weight, 1 / side**2)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.norm(self.conv(x))
        return pooled.flatten(1)


def build_net(config: Config) -> AttributeNet:
    """A recipe's network with fresh weights; ``load_start`` brings those it starts from. Raises ``ConfigError``."""
    return AttributeNet(config)


def is_training_only(parameter: str) -> bool:
    """It belongs to an auxiliary head, which answers no one."""
    return not {"decoder", "embedding"}.isdisjoint(parameter.split("."))


def _backbone(config: Config) -> Backbone:
    if config.backbone not in BACKBONES:
        raise ConfigError(f"`backbone`: expected one of {', '.join(BACKBONES)}, found {config.backbone}")
    backbone = BACKBONES[config.backbone](config)
    if not backbone.side and (config.attention or config.decoder):
        wish = "attention" if config.attention else "decoder"
        raise ConfigError(f"`{wish}`: needs a feature map, and {config.backbone} has none; leave it out")
    return backbone


def _pool(kind: str, backbone: Backbone) -> tuple[nn.Module, int]:
    """The pooling layer and the number of features it gives."""
    _, channels, side = backbone
    if not side:
        return nn.Identity(), channels
    if kind == "position":
        return PositionPool(channels, side), channels
    if kind == "flatten":
        return nn.Flatten(), channels * side**2
    return MeanPool(), channels
