"""How sure the answers are: the mean and spread of several networks.

Deep ensembles: Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation", NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgeface.errors import ConfigError
from trainer.models import AttributeNet
from trainer.models.calibration_values import Calibration
from trainer.models.heads import Answer


class Mixture(NamedTuple):
    """Answers by output name, ``mean`` of several members: age in years, class probabilities.

    ``mean["age_std"]`` is that of the mixture of the members' age distributions (law of total variance: the mean of
    their variances and the variance of their ages). ``spread`` is the standard deviation over the members, what they
    do not agree about; it has no ``age_std``.
    """

    mean: dict[str, Tensor]
    spread: dict[str, Tensor]


class Ensemble(nn.Module):
    """Several networks as one: uint8 crops ``[N, S, S, 3]`` → the mean of their ``Answer``, outputs named by ``heads``.

    They have to take the same crops (size and alignment) and have the same tasks, else ``ConfigError``; backbones and
    kinds of head may differ. Each member's own calibration is applied, then ``calibration`` scales the mixture's
    ``age_std`` (probabilities are left alone). ``save_program`` exports it.
    """

    def __init__(self, nets: Sequence[AttributeNet], calibration: Calibration | None = None):
        super().__init__()
        if not nets:
            raise ConfigError("an ensemble needs a network")
        for item in ("input_size", "alignment", "tasks"):
            values = [getattr(net.config, item) for net in nets]
            if any(value != values[0] for value in values):
                raise ConfigError(f"ensemble: every network needs the same {item}, found {values}")
        answers = [Answer(net) for net in nets]
        self.members = nn.ModuleList(answers)
        self.config = nets[0].config
        self.calibration = calibration or Calibration()
        self.heads = answers[0].heads

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        mean = dict(self.mixture(crops).mean)
        if "age_std" in mean:
            mean["age_std"] = self.calibration.spread(mean["age_std"])
        return tuple(mean.values())

    def mixture(self, crops: Tensor) -> Mixture:
        """Mean and spread of the members' answers."""
        return mixture_of(self._names(), [member(crops) for member in self.members])

    def _names(self) -> list[str]:
        return [head.name for head in self.heads]


def mixture_of(names: Iterable[str], answers: Sequence[Sequence[Tensor]]) -> Mixture:
    """Mean and spread of several answers to the same crops, each a tensor for every one of ``names``."""
    stacked = {name: torch.stack(values) for name, values in zip(names, zip(*answers))}
    mean = {name: values.mean(dim=0) for name, values in stacked.items()}
    spread = {
        name: (values - mean[name]).square().mean(dim=0).sqrt() for name, values in stacked.items() if name != "age_std"
    }
    if "age" in stacked:
        mean["age_std"] = (stacked["age_std"].square().mean(dim=0) + spread["age"].square()).sqrt()
    return Mixture(mean, spread)
