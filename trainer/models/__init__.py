"""Networks: backbones by name, the attribute network around them, and their weights."""

from __future__ import annotations

from trainer.models.backbone import Backbone, MakeBackbone
from trainer.models.net import BACKBONES, AttributeNet, Logits, PositionPool, build_net, is_training_only
from trainer.models.weights import averaged_weights, load_compatible_weights, load_net, load_start

__all__ = [
    "BACKBONES",
    "AttributeNet",
    "Backbone",
    "Logits",
    "MakeBackbone",
    "PositionPool",
    "averaged_weights",
    "build_net",
    "load_net",
    "load_start",
    "load_compatible_weights",
    "is_training_only",
]
