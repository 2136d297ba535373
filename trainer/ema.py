"""The weights that are judged and shipped: an average over the steps of training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(net: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of a network's weights and running statistics, in ``.module``.

    Call ``update_parameters(net)`` after each step of the optimiser. The average's memory grows with the steps done, up
    to ``decay``, so that early weights do not linger; ``decay`` 0 keeps the last weights. Polyak, Juditsky,
    "Acceleration of stochastic approximation by averaging", SIAM J. Control 1992.
    """

    @torch.no_grad()
    def blend(averages: Any, values: Any, steps: Tensor | int) -> None:
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - warmed_decay(int(steps), decay))
        else:  # batch normalisation's step counters
            torch._foreach_copy_(averages, values)

    model = AveragedModel(net, multi_avg_fn=blend, use_buffers=True)
    model.module.requires_grad_(False).eval()
    return model


def warmed_decay(steps: int, decay: float) -> float:
    """What remains of the average at the step that follows ``steps`` others."""
    return min(decay, steps / (10 + steps))
