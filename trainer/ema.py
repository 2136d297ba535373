"""The weights that are judged and shipped: an average over the steps of training."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

_COUNT = "n_averaged"


class Averaged:
    """Exponential moving average of a network's weights and running statistics, in ``module``.

    Its memory grows with the steps done, up to ``decay``, so that early weights do not linger; ``decay`` 0 keeps the
    last weights. Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control 1992.
    """

    def __init__(self, net: nn.Module, decay: float):
        self.module = copy.deepcopy(net).requires_grad_(False).eval()
        self.decay, self.steps = decay, 0
        values, averages = net.state_dict(keep_vars=True), self.module.state_dict(keep_vars=True)
        self._floats = [(averages[name], value) for name, value in values.items() if value.is_floating_point()]
        self._others = [(averages[name], value) for name, value in values.items() if not value.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's weights after a step."""
        weight = 1 - min(self.decay, self.steps / (10 + self.steps))
        self.steps += 1
        averages, values = map(list, zip(*self._floats))
        torch._foreach_lerp_(averages, values, weight)
        for average, value in self._others:  # batch normalisation's step counters
            average.copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        named = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        return {_COUNT: torch.tensor(self.steps), **named}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.steps = int(state[_COUNT])
        self.module.load_state_dict({n.removeprefix("module."): v for n, v in state.items() if n != _COUNT})
