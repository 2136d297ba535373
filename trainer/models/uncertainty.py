"""How sure the answers are: the mean and spread of several networks, or of one network with dropout left on.

Deep ensembles: Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation", NeurIPS 2017.
MC dropout: Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
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


def mc_dropout(net: AttributeNet, crops: Tensor, samples: int = 16) -> Mixture:
    """``samples`` answers to uint8 crops ``[N, S, S, 3]`` with dropout on and everything else in evaluation mode.

    Needs dropout in the recipe (``dropout``, ``head_dropout`` or a backbone that has its own), else ``ConfigError``.
    Random numbers come from torch's global generator.
    """
    if not any(layer.p for layer in _dropouts(net)):
        raise ConfigError(f"`dropout`: MC dropout needs some, the network of recipe {net.config.name} has none")
    answer = Answer(net)
    with _dropout_on(net), torch.no_grad():
        return mixture_of([head.name for head in answer.heads], [answer(crops) for _ in range(samples)])


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


def _dropouts(net: nn.Module) -> Iterator[nn.Module]:
    kinds = (nn.Dropout, nn.Dropout2d)
    return (layer for layer in net.modules() if isinstance(layer, kinds))


@contextmanager
def _dropout_on(net: nn.Module) -> Iterator[None]:
    """Every layer in evaluation mode but dropout; afterwards as it was."""
    before = {layer: layer.training for layer in net.modules()}
    net.eval()
    for layer in _dropouts(net):
        layer.train()
    try:
        yield
    finally:
        for layer, training in before.items():
            layer.training = training
