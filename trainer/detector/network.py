"""The detector: plain 3x3 convolutions, a small feature pyramid, one light head for each stride."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trainer.detector.config import Recipe

STRIDES = (8, 16, 32)
OUTPUTS = ("score", "box", "landmarks")
INPUT_SCALE = 1 / 64  # of pixels around their middle
_MAX_LOG_DISTANCE = 6.0  # exp(6) = 403 strides: keeps half precision finite


def conv_bn_relu(inputs: int, outputs: int, stride: int = 1, groups: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def folded(model: nn.Module) -> nn.Module:
    """Every batch normalisation taken into the convolution before it; what was learnt stays the same function."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.Sequential) and len(child) == 3 and isinstance(child[1], nn.BatchNorm2d):
            conv, norm, relu = child
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            setattr(model, name, nn.Sequential(fuse_conv_bn_eval(conv.eval(), norm.eval()), relu))
        else:
            folded(child)
    return model


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3x3, then pointwise convolution."""
    return nn.Sequential(conv_bn_relu(inputs, inputs, groups=inputs), conv_bn_relu(inputs, outputs, kernel=1))


class Stage(nn.Module):
    """Halves the map, then refines it with residual 3x3 convolutions."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.down = conv_bn_relu(inputs, outputs, stride=2)
        self.blocks = nn.ModuleList(conv_bn_relu(outputs, outputs) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        for block in self.blocks:
            x = x + block(x)
        return x


class Head(nn.Module):
    """Score, box and landmarks of one stride: ``[N, C, H, W]`` to ``[N, H*W, 15]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        score, shape = nn.Conv2d(channels, 1, 1), nn.Conv2d(channels, 14, 1)
        assert score.bias is not None and shape.bias is not None
        with torch.no_grad():
            nn.init.constant_(score.bias, -4.6)  # a prior of one per cent keeps the first steps calm
            nn.init.constant_(shape.bias[:4], 0.7)  # boxes of four strides
        self.score = nn.Sequential(separable(channels, channels), score)
        self.shape = nn.Sequential(separable(channels, channels), separable(channels, channels), shape)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.score(x), self.shape(x)], dim=1).flatten(2).transpose(1, 2)


class LandmarkRefiner(nn.Module):
    """A correction of the landmarks, shared by all strides, zero at first: ``[N, C, H, W]`` to ``[N, H*W, 10]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        correction = nn.Conv2d(channels, 10, 1)
        nn.init.zeros_(correction.weight)
        self.layers = nn.Sequential(separable(channels, channels), separable(channels, channels), correction)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layers(x)
        return answer.flatten(2).transpose(1, 2)


class Detector(nn.Module):
    """uint8 ``[N, H, W, 3]`` RGB to score logits ``[N, A]``, box distances ``[N, A, 4]``, landmarks ``[N, A, 10]``.

    H and W are multiples of 32. Distances (left, top, right, bottom) and offsets count in strides from the anchor in
    the middle of a cell; A runs over strides 8, 16, 32, row by row.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        widths, blocks, neck = recipe.widths, recipe.blocks, recipe.neck
        self.stem = conv_bn_relu(3, recipe.stem, stride=2)
        self.stages = nn.ModuleList(Stage(i, o, b) for i, o, b in zip((recipe.stem, *widths[:3]), widths, blocks))
        self.lateral = nn.ModuleList(conv_bn_relu(width, neck, kernel=1) for width in widths[1:])
        self.smooth = nn.ModuleList(separable(neck, neck) for _ in STRIDES)
        self.heads = nn.ModuleList(Head(neck) for _ in STRIDES)
        self.refiner = LandmarkRefiner(neck)
        self.start_blocks = recipe.start_blocks
        if recipe.folded:
            folded(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pixels = image.to(torch.float32).permute(0, 3, 1, 2)  # cast first: TensorRT lets uint8 feed nothing else
        x = self.stem((pixels - 127.5) * INPUT_SCALE)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        pyramid = [lateral(level) for lateral, level in zip(self.lateral, maps[1:])]
        for level in (1, 0):  # top down, as in feature pyramid networks (Lin et al., CVPR 2017)
            pyramid[level] = pyramid[level] + F.interpolate(pyramid[level + 1], scale_factor=2.0, mode="nearest")
        pyramid = [smooth(level) for smooth, level in zip(self.smooth, pyramid)]
        raw = torch.cat([head(level) for head, level in zip(self.heads, pyramid)], dim=1).float()
        correction = torch.cat([self.refiner(level) for level in pyramid], dim=1).float()
        return raw[..., 0], raw[..., 1:5].clamp(max=_MAX_LOG_DISTANCE).exp(), raw[..., 5:] + correction

    def freeze(self, stages: int) -> None:
        """Keep the stem and the first ``stages`` stages as they are: no gradients, no new running statistics."""
        for part in (self.stem, *self.stages[:stages]) if stages else ():
            part.eval().requires_grad_(False)


class ExportedDetector(nn.Module):
    """The graph that is shipped: as ``Detector``, with the sigmoid inside."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, box, landmarks = self.detector(image)
        return logits.sigmoid(), box, landmarks


def parameter_count(model: nn.Module) -> int:
    """Learnt numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters())
