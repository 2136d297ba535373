"""The heads: their layers, and what their raw outputs mean as ages in years and as probabilities.

A new kind of age or gender head is one ``Head`` in ``AGE_HEADS`` or ``GENDER_HEADS``: its layer and its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeface.errors import ConfigError
from edgeface.spec.model import RACES, HeadSpec, default_heads
from trainer.config import Config
from trainer.models.calibration_values import Calibration

AGE_BINS = 101
"""One bin per year, 0 … 99, and the last for 100 years and more (UTKFace has 40 such faces, most labels wrong)."""
OLDEST = 120.0
"""No answer is beyond this many years; the longest lives known."""
OLDEST_IN_GROUPS = 99
"""Where the last of ``age_groups`` ends, as in the published six."""

_MEAN_AGE = 35.0
"""Where fresh heads start, near the mean of the data sets' ages, so that no epoch goes into finding it."""
_REGRESSION_STD = 6.0
"""A regressed age says nothing of its spread: the usual error of such networks stands for it, scaled by calibration."""


class Head(NamedTuple):
    """``layer``: number of features, config → the head's last layer. ``answer``: its raw output, config → what is said.

    An age's answer is ``(age [N], age_std [N])`` in years, a class head's its logits ``[N, classes]``.
    """

    layer: Callable[[int, Config], nn.Module]
    answer: Callable[[Tensor, Config], tuple[Tensor, ...]]


def make_head(task: str, features: int, config: Config) -> nn.Module:
    """A task's layers, features ``[N, D]`` → raw output: the hidden ones that the recipe asks for, then its last."""
    hidden: tuple[int, ...] = getattr(config, f"{task}_hidden")
    activation = {"relu": nn.ReLU, "gelu": nn.GELU}[config.head_activation]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((features, *hidden)):
        layers += [nn.Linear(inputs, outputs), activation(), nn.Dropout(config.head_dropout)]
    last = head_of(task, config).layer(hidden[-1] if hidden else features, config)
    return nn.Sequential(*layers, last) if layers else last


def head_of(task: str, config: Config) -> Head:
    """What the recipe chose for a task. Raises ``ConfigError``, naming the kinds there are."""
    if task == "race":
        return RACE_HEAD
    kinds, chosen = {"age": (AGE_HEADS, config.age_head), "gender": (GENDER_HEADS, config.gender_head)}[task]
    if chosen not in kinds:
        raise ConfigError(f"`{task}_head`: expected {' or '.join(kinds)}, found {chosen}")
    return kinds[chosen]


def age_answer(raw: Tensor, config: Config, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Raw age output ``[N, K]`` → age and its standard deviation, float32 ``[N]`` years each.

    ``temperature`` divides the logits of the age, not of its spread; a head that answers a number has none.
    """
    answer = head_of("age", config).answer
    age, std = answer(raw.float(), config)
    if temperature != 1 and config.age_head != "regression":
        age = answer(raw.float() / temperature, config)[0]
    return age, std


def gender_logits(raw: Tensor, config: Config) -> Tensor:
    """Raw gender output ``[N, 1 or 2]`` → logits float32 ``[N, 2]`` (male, female)."""
    return head_of("gender", config).answer(raw.float(), config)[0]


def group_middles(config: Config) -> tuple[list[float], list[float]]:
    """Middle and standard deviation in years of each of ``age_groups``, its whole years being equally likely."""
    ends = [*(start - 1 for start in config.age_groups[1:]), OLDEST_IN_GROUPS]
    middles = [(start + end) / 2 for start, end in zip(config.age_groups, ends)]
    return middles, [(((end - start + 1) ** 2 - 1) / 12) ** 0.5 for start, end in zip(config.age_groups, ends)]


def ordered_probabilities(raw: Tensor) -> Tensor:
    """Raw ordinal output ``[N, 100]`` → P(age > 0), P(age > 1), … P(age > 99)."""
    return torch.sigmoid(raw)


class CoralLayer(nn.Module):
    """One score for the face, one threshold a year: features ``[N, D]`` → logits of P(age > k) ``[N, 100]``.

    Cao et al., "Rank consistent ordinal regression for neural networks", Pattern Recognition Letters 2020. There the
    thresholds are proven to be in order at the optimum; here they are sums of positive steps, so in order always.
    """

    def __init__(self, features: int):
        super().__init__()
        self.score = nn.Linear(features, 1)
        nn.init.constant_(self.score.bias, _MEAN_AGE / 10)
        step = torch.tensor(0.1)  # with it a fresh head's ages spread as the data's do
        self.steps = nn.Parameter(torch.full((AGE_BINS - 2,), float(step.expm1().log())))

    def forward(self, features: Tensor) -> Tensor:
        score: Tensor = self.score(features)
        return score - F.pad(F.softplus(self.steps).cumsum(0), (1, 0))


def _year_layer(features: int, config: Config) -> nn.Module:
    layer = nn.Linear(features, 1)
    nn.init.constant_(layer.bias, _MEAN_AGE)
    return layer


def _expectation(raw: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Expectation and spread of the distribution over ``AGE_BINS`` years."""
    distribution = torch.softmax(raw, dim=1)
    years = torch.arange(raw.shape[1], dtype=torch.float32, device=raw.device)
    age = (distribution * years).sum(dim=1)
    variance = (distribution * (years - age[:, None]).square()).sum(dim=1)
    return age, variance.sqrt()


def _years(raw: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """The number itself, kept within life."""
    age = raw.squeeze(1).clamp_min(0.0).clamp_max(OLDEST)
    return age, age * 0.0 + _REGRESSION_STD


def _thresholds(raw: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Σ P(age > k), and from E[age²] = Σ (2k + 1) P(age > k) the spread."""
    above = ordered_probabilities(raw)
    odd = 2 * torch.arange(raw.shape[1], dtype=torch.float32, device=raw.device) + 1
    age = above.sum(dim=1)
    return age, ((above * odd).sum(dim=1) - age.square()).clamp_min(0).sqrt()


def _groups(raw: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Expectation over the groups' middles; the spread counts that within a group, too."""
    probability = torch.softmax(raw, dim=1)
    middles, spreads = (torch.tensor(values, device=raw.device) for values in group_middles(config))
    age = (probability * middles).sum(dim=1)
    variance = (probability * ((middles - age[:, None]).square() + spreads.square())).sum(dim=1)
    return age, variance.sqrt()


def _as_they_are(raw: Tensor, config: Config) -> tuple[Tensor, ...]:
    return (raw,)


def _female_logit(raw: Tensor, config: Config) -> tuple[Tensor, ...]:
    """One logit of "female" as two, half of it each way, so that softmax over them is its sigmoid."""
    return (raw * torch.tensor([-0.5, 0.5], device=raw.device),)


AGE_HEADS = {
    "distribution": Head(lambda features, config: nn.Linear(features, AGE_BINS), _expectation),
    "regression": Head(_year_layer, _years),
    "ordinal": Head(lambda features, config: CoralLayer(features), _thresholds),
    "groups": Head(lambda features, config: nn.Linear(features, len(config.age_groups)), _groups),
}
GENDER_HEADS = {
    "softmax": Head(lambda features, config: nn.Linear(features, 2), _as_they_are),
    "sigmoid": Head(lambda features, config: nn.Linear(features, 1), _female_logit),
}
RACE_HEAD = Head(lambda features, config: nn.Linear(features, len(RACES)), _as_they_are)


def spec_heads(tasks: tuple[str, ...]) -> tuple[HeadSpec, ...]:
    """The outputs of a network with ``tasks``, in the contract's order: ``age`` comes with ``age_std``."""
    return tuple(head for head in default_heads() if head.name.removesuffix("_std") in tasks)


class Answer(nn.Module):
    """The whole graph, as it is exported: crops → calibrated answers in the artefact contract's units and order.

    ``net`` answers with ``Logits`` and carries its ``config``; without ``calibration`` its own is applied.
    """

    def __init__(self, net: nn.Module, calibration: Calibration | None = None):
        super().__init__()
        self.net = net
        self.config: Config = net.config  # type: ignore[assignment]
        self.calibration: Calibration = calibration or net.calibration  # type: ignore[assignment]
        self.heads = spec_heads(self.config.tasks)

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """uint8 ``[N, S, S, 3]`` → ``age``, ``age_std`` ``[N]`` years, ``gender`` ``[N, 2]``, ``race`` ``[N, 5]``.

        Those of the tasks the network has, one tensor for each of ``heads``.
        """
        logits, fitted, answers = self.net(crops), self.calibration, []
        if "age" in logits:
            age, std = age_answer(logits["age"], self.config, fitted.age_temperature)
            answers += [age, fitted.spread(std)]
        if "gender" in logits:
            answers.append(torch.softmax(gender_logits(logits["gender"], self.config) / fitted.gender_temperature, 1))
        if "race" in logits:
            bias = torch.tensor(fitted.race_bias, device=logits["race"].device)
            answers.append(torch.softmax((logits["race"].float() + bias) / fitted.race_temperature, 1))
        return tuple(answers)
