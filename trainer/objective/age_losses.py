"""What the age head is punished for, whatever kind of head it is.

Another loss is one function here, under a decorator that names it for recipes and says which age heads it suits. Every
age label is an interval of years from ``low`` to ``high`` (float ``[N]``), both included; an exact age's are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import Config


class AgeLoss(NamedTuple):
    """``function``: (raw ``[N, K]``, low ``[N]``, high ``[N]``, config) → ``[N]``; ``heads``: those it suits."""

    function: Callable[[Tensor, Tensor, Tensor, Config], Tensor]
    heads: frozenset[str]


AGE_LOSSES: dict[str, AgeLoss] = {}


def age_loss(name: str, *heads: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a loss of the age ``heads`` that it suits."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        AGE_LOSSES[name] = AgeLoss(function, frozenset(heads))
        return function

    return register


@age_loss("distribution", "distribution")
def distribution_loss(raw: Tensor, low: Tensor, high: Tensor, config: Config) -> Tensor:
    """Kullback–Leibler divergence from the soft label, plus ``age_l1`` × the expectation's absolute error in years.

    Of an interval: the negative log-likelihood, as in ``interval_loss``. Label distributions: Gao et al., "Deep label
    distribution learning with label ambiguity", IEEE TIP 2017; with the expectation: Gao et al., "Age estimation using
    expectation of label distribution learning", IJCAI 2018.
    """
    log_probability, bins = F.log_softmax(raw, dim=1), raw.shape[1]
    soft = soft_ages(low, config.age_sigma, bins)
    divergence = F.kl_div(log_probability, soft, reduction="none").sum(dim=1)
    years = torch.arange(bins, dtype=raw.dtype, device=raw.device)
    error = (log_probability.exp() @ years - low.clamp(0, bins - 1)).abs()
    return torch.where(low == high, divergence + config.age_l1 * error, interval_loss(raw, low, high, config))


@age_loss("cross-entropy", "distribution", "groups")
def interval_loss(raw: Tensor, low: Tensor, high: Tensor, config: Config) -> Tensor:
    """Negative log-likelihood of the label: -log of the summed probability of the classes that overlap with it.

    Classes are years, or the recipe's ``age_groups``; the last has no end. An exact age lies in one class, of which
    this is the cross-entropy.
    """
    starts = age_class_starts(config, raw)
    ends = torch.cat([starts[1:], starts.new_full((1,), torch.inf)])
    outside = (starts > high[:, None]) | (ends <= low[:, None])
    return -torch.logsumexp(F.log_softmax(raw, dim=1).masked_fill(outside, -torch.inf), dim=1)


@age_loss("mse", "regression")
def squared_loss(raw: Tensor, low: Tensor, high: Tensor, config: Config) -> Tensor:
    """Squared distance from the interval, 0 inside, in units of ``age_scale`` years."""
    return _years_outside(raw, low, high, config).square()


@age_loss("l1", "regression")
def absolute_loss(raw: Tensor, low: Tensor, high: Tensor, config: Config) -> Tensor:
    """Distance from the interval, 0 inside, in units of ``age_scale`` years."""
    return _years_outside(raw, low, high, config)


@age_loss("huber", "regression")
def huber_loss(raw: Tensor, low: Tensor, high: Tensor, config: Config) -> Tensor:
    """Distance from the interval in units of ``age_scale`` years: half its square below 1, linear above."""
    distance = _years_outside(raw, low, high, config)
    return F.huber_loss(distance, torch.zeros_like(distance), reduction="none")


@age_loss("ordinal", "ordinal")
def ordinal_loss(raw: Tensor, low: Tensor, high: Tensor, config: Config) -> Tensor:
    """Summed binary cross-entropy of the questions "older than k years?", k = 0 … K - 1, per ``age_scale`` years.

    Cao, Mirjalili, Raschka, "Rank consistent ordinal regression for neural networks with application to age
    estimation" (CORAL), Pattern Recognition Letters 2020. An interval leaves the questions inside it unanswered.
    """
    thresholds = torch.arange(raw.shape[1], device=raw.device)
    older, not_older = thresholds < low.floor()[:, None], thresholds >= high.floor()[:, None]
    losses = F.binary_cross_entropy_with_logits(raw, older.to(raw.dtype), reduction="none")
    return (losses * (older | not_older)).sum(dim=1) / config.age_scale


def soft_ages(age_years: Tensor, sigma: float, bins: int) -> Tensor:
    """Gaussian label distributions over the years: float ``[N, bins]``, rows sum to 1; ages end at the last bin."""
    years = torch.arange(bins, dtype=age_years.dtype, device=age_years.device)
    distance = (years - age_years.clamp(0, bins - 1)[:, None]) / sigma
    return F.softmax(-0.5 * distance.square(), dim=1)


def age_class_starts(config: Config, raw: Tensor) -> Tensor:
    """The first year of each class of an age head that has classes: float ``[K]``."""
    starts = config.age_groups if config.age_head == "groups" else range(raw.shape[1])
    return torch.tensor(list(starts), dtype=raw.dtype, device=raw.device)


def _years_outside(raw: Tensor, low: Tensor, high: Tensor, config: Config) -> Tensor:
    """How far a regressed age lies outside the interval, in units of ``age_scale`` years."""
    return (F.relu(low - raw[:, 0]) + F.relu(raw[:, 0] - high)) / config.age_scale
