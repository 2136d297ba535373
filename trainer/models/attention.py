"""Attention: over a convolutional feature map (CBAM, self-attention) and between a transformer's tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Cbam(nn.Module):
    """Weights for channels, then for places. Woo et al., "CBAM: Convolutional block attention module", ECCV 2018."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        inner = max(channels // reduction, 4)
        self.channels = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(inplace=True), nn.Linear(inner, channels))
        self.places = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` → the same shape."""
        by_channel = self.channels(x.mean(dim=(2, 3))) + self.channels(x.amax(dim=(2, 3)))
        x = x * by_channel.sigmoid()[:, :, None, None]
        seen = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        by_place: Tensor = self.places(seen).sigmoid()
        return x * by_place


class SelfAttention(nn.Module):
    """Every place looks at all others; starts as the identity.

    Zhang et al., "Self-attention generative adversarial networks", ICML 2019.
    """

    def __init__(self, channels: int):
        super().__init__()
        inner = max(channels // 8, 1)
        self.query, self.key = nn.Conv2d(channels, inner, 1), nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` → the same shape."""
        query, key, value = self.query(x).flatten(2), self.key(x).flatten(2), self.value(x).flatten(2)
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=-1)  # [N, HW asking, HW asked]
        seen: Tensor = value @ weights.transpose(1, 2)
        return x + self.gamma * seen.reshape(x.shape)


ATTENTION: dict[str, Callable[[int], nn.Module]] = {"cbam": Cbam, "self": SelfAttention}
"""By name: channels of the feature map → a module that keeps its shape."""


class MultiHeadAttention(nn.Module):
    """``nn.MultiheadAttention`` with the same weights, spelled out in plain products where it is not trained.

    Vaswani et al., "Attention is all you need", NeurIPS 2017. Runtimes of opset 17 know no fused attention; and
    ``softmax`` is a module of its own so that a forward hook sees the weights, ``[N, heads, tokens, tokens]``.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.softmax = nn.Softmax(dim=-1)

    @classmethod
    def like(cls, other: nn.MultiheadAttention) -> MultiHeadAttention:
        """One with the sizes and weights of torch's."""
        mine = cls(other.embed_dim, other.num_heads)
        mine.load_state_dict(other.state_dict())
        return mine

    def forward(self, query: Tensor, *_: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        """Self-attention of tokens ``[N, T, width]``; further arguments are those of torch's, which repeat them."""
        shape = (*query.shape[:2], 3, self.heads, query.shape[2] // self.heads)
        projected = F.linear(query, self.in_proj_weight, self.in_proj_bias).reshape(shape).permute(2, 0, 3, 1, 4)
        asking, asked, value = projected.unbind()
        if self.training:
            seen = F.scaled_dot_product_attention(asking, asked, value)
        else:
            seen = self.softmax(asking @ asked.transpose(-1, -2) * shape[-1] ** -0.5) @ value
        return self.out_proj(seen.transpose(1, 2).flatten(2)), None
