"""The auxiliary task of face segmentation: a mask of the face, drawn from the last feature map while training."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_WIDTHS = (256, 128, 64, 32, 1)


class MaskDecoder(nn.Module):
    """Feature map ``[N, C, s, s]`` → mask logits ``[N, 1, size, size]``.

    Five transposed convolutions, each doubling the resolution and but the last followed by batch normalisation and
    ReLU; a backbone that does not divide by 32 is resized to ``size`` at the end.
    """

    def __init__(self, channels: int, size: int):
        layers: list[nn.Module] = []
        for width in _WIDTHS:
            layers.append(nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1))
            if width > 1:
                layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        super().__init__()
        self.layers, self.size = nn.Sequential(*layers), size

    def forward(self, features: Tensor) -> Tensor:
        mask: Tensor = self.layers(features)
        if mask.shape[-1] == self.size:
            return mask
        return F.interpolate(mask, size=(self.size, self.size), mode="bilinear", align_corners=False)
