"""torchvision's networks as backbones, without their classifiers. State-dict names stay torchvision's own."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from edgeface.errors import ConfigError
from trainer.config import Config
from trainer.models.attention import MultiHeadAttention
from trainer.models.backbone import Backbone, MakeBackbone, MeanPool

_SMOKE_BLOCKS = 2
_SMALLEST = {"inception_v3": 75}


def imagenet_state(name: str) -> dict[str, Tensor]:
    """torchvision's best ImageNet weights of a network, downloaded once into torch's hub folder."""
    try:
        weights = _models().get_model_weights(name).DEFAULT
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except ValueError as error:
        raise ConfigError(f"`start`: torchvision has no ImageNet weights for backbone {name}; name a file") from error
    except OSError as error:
        reason = f"cannot download ImageNet weights of {name} ({error})"
        raise ConfigError(f"`start`: {reason}; fetch them elsewhere and name the file") from error


def _network(name: str, **options: Any) -> Any:
    return _models().get_model(name, weights=None, **options)


def _models() -> Any:
    import trainer.models.torchvision_shim  # noqa: F401  (makes torchvision importable beside any build of torch)

    from torchvision import models  # isort: skip

    return models


def _convolutional(name: str, head: Iterable[str], **options: Any) -> MakeBackbone:
    """The network less its children called ``head``."""

    def make(config: Config) -> Backbone:
        smallest = _SMALLEST.get(name, 32)
        if config.input_size < smallest:
            raise ConfigError(f"`input_size`: {name} needs {smallest} or more, found {config.input_size}")
        children = _network(name, **options).named_children()
        body = nn.Sequential(OrderedDict((key, child) for key, child in children if key not in tuple(head)))
        _pool_plainly(body)
        _, channels, side, _ = _answer_shape(body, config.input_size)
        return Backbone(body, channels, side)

    return make


def _pool_plainly(net: nn.Module) -> None:
    """Put ``MeanPool`` in the place of every pooling to one pixel, as squeeze-and-excitation blocks have it."""
    for layer in net.modules():
        for name, child in layer.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                layer.add_module(name, MeanPool(keepdim=True))


def _answer_shape(body: nn.Module, size: int) -> torch.Size:
    """Shape of ``body``'s answer to one image, found without computing it."""
    with torch.no_grad():
        answer: Tensor = copy.deepcopy(body).to("meta").eval()(torch.empty(1, 3, size, size, device="meta"))
    return answer.shape


def _vit_b_16(config: Config) -> Backbone:
    """The class token of ViT-B/16. Dosovitskiy et al., "An image is worth 16×16 words", ICLR 2021.

    A smoke run has the first two of its twelve alike blocks, for time.
    """
    if config.input_size % 16:
        raise ConfigError(f"`input_size`: vit_b_16 needs a multiple of its 16-pixel patches, found {config.input_size}")
    net = _network("vit_b_16", image_size=config.input_size)
    net.heads = nn.Identity()
    if config.smoke:
        net.encoder.layers = net.encoder.layers[:_SMOKE_BLOCKS]
    for block in net.encoder.layers:
        block.self_attention = MultiHeadAttention.like(block.self_attention)
    return Backbone(net, net.hidden_dim, 0)


_RESNET = ("avgpool", "fc")
_MOBILE = ("avgpool", "classifier")

VISION: dict[str, MakeBackbone] = {
    "resnet18": _convolutional("resnet18", _RESNET),
    "resnet34": _convolutional("resnet34", _RESNET),
    "resnet50": _convolutional("resnet50", _RESNET),
    "mobilenet_v3_small": _convolutional("mobilenet_v3_small", _MOBILE),
    "mobilenet_v3_large": _convolutional("mobilenet_v3_large", _MOBILE),
    "efficientnet_b0": _convolutional("efficientnet_b0", _MOBILE),
    "inception_v3": _convolutional(
        "inception_v3", ("AuxLogits", "avgpool", "dropout", "fc"), aux_logits=False, init_weights=True
    ),
    "vit_b_16": _vit_b_16,
}


def resized_positions(state: dict[str, Tensor], input_size: int) -> dict[str, Tensor]:
    """A ViT's weights for crops of another side: its position embeddings are interpolated, the rest stays."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    return dict(interpolate_embeddings(input_size, 16, OrderedDict(state)))
