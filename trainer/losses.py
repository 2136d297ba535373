"""What the network is punished for. Every loss is a mean over the rows that carry the label, 0 where none does."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import Config
from trainer.model import AGE_BINS, Logits

_MIN_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Targets:
    """Labels of a batch: ``age`` float ``[N]`` years, NaN if unknown; ``low`` and ``high`` int ``[N]``, the interval's

    first and last year, -1 if unknown; ``gender`` and ``race`` int ``[N]``, -1 if unknown.
    """

    age: Tensor
    low: Tensor
    high: Tensor
    gender: Tensor
    race: Tensor

    def to(self, device: torch.device) -> Targets:
        return Targets(*(getattr(self, item.name).to(device) for item in fields(self)))


def total_loss(logits: Logits, targets: Targets, config: Config) -> dict[str, Tensor]:
    """The weighted sum under ``total`` and its parts, unweighted, under their names."""
    parts = {
        "age": distribution_loss(logits.age, targets.age, config.age_sigma),
        "age_l1": expectation_loss(logits.age, targets.age),
        "interval": interval_loss(logits.age, targets.low, targets.high, ~torch.isfinite(targets.age)),
        "gender": class_loss(logits.gender, targets.gender, config.label_smoothing),
        "race": class_loss(logits.race, targets.race, config.label_smoothing, config.race_class_weights),
    }
    weights = {
        "age": 1.0,
        "age_l1": config.age_l1,
        "interval": config.interval_weight,
        "gender": config.gender_weight,
        "race": config.race_weight,
    }
    return {"total": torch.stack([weights[name] * part for name, part in parts.items()]).sum(), **parts}


def soft_ages(age_years: Tensor, sigma: float) -> Tensor:
    """Gaussian label distributions over the age bins: float ``[N, AGE_BINS]``, rows sum to 1; ages end at the last bin.

    Gao et al., "Deep label distribution learning with label ambiguity", IEEE TIP 2017.
    """
    bins = torch.arange(AGE_BINS, dtype=torch.float32, device=age_years.device)
    distance = (bins - age_years.clamp(0, AGE_BINS - 1)[:, None]) / sigma
    return F.softmax(-0.5 * distance.square(), dim=1)


def distribution_loss(logits: Tensor, age_years: Tensor, sigma: float) -> Tensor:
    """Kullback–Leibler divergence of the predicted age distribution from the soft label; rows with NaN are left out."""
    known = torch.isfinite(age_years)
    target = soft_ages(age_years.nan_to_num(), sigma)
    divergence = F.kl_div(F.log_softmax(logits, dim=1), target, reduction="none").sum(dim=1)
    return _mean_where(divergence, known)


def expectation_loss(logits: Tensor, age_years: Tensor) -> Tensor:
    """Mean absolute error in years of the distribution's expectation; rows with NaN are left out."""
    known = torch.isfinite(age_years)
    bins = torch.arange(AGE_BINS, dtype=logits.dtype, device=logits.device)
    error = (F.softmax(logits, dim=1) @ bins - age_years.nan_to_num().clamp(0, AGE_BINS - 1)).abs()
    return _mean_where(error, known)


def interval_loss(logits: Tensor, low: Tensor, high: Tensor, usable: Tensor) -> Tensor:
    """Negative log-likelihood of an age interval: -log of the summed probability of its years, both ends included.

    Rows with ``low`` < 0, or not ``usable``, are left out. An interval that ends beyond the last bin ends with it.
    """
    bins = torch.arange(AGE_BINS, device=logits.device)
    inside = (bins >= low[:, None]) & (bins <= high[:, None])
    probability = (F.softmax(logits, dim=1) * inside).sum(dim=1)
    return _mean_where(-probability.clamp_min(_MIN_PROBABILITY).log(), (low >= 0) & usable)


def class_loss(logits: Tensor, label: Tensor, smoothing: float, weights: tuple[float, ...] | None = None) -> Tensor:
    """Cross-entropy with label smoothing and class weights; rows with a negative label are left out."""
    known = label >= 0
    weight = None if weights is None else torch.tensor(weights, dtype=logits.dtype, device=logits.device)
    losses = F.cross_entropy(logits, label.clamp_min(0), weight=weight, label_smoothing=smoothing, reduction="none")
    return _mean_where(losses, known)


def _mean_where(values: Tensor, rows: Tensor) -> Tensor:
    return (values * rows).sum() / rows.sum().clamp_min(1)
