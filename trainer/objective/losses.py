"""What the network is punished for: one loss per task, a mean over the rows that carry the task's label.

Another loss is one function here (of age: in ``age_losses``), under a decorator that names it for recipes and says
which heads it suits. It gets a head's raw outputs and the labels and returns one value a row; masking missing labels is
done once, in ``task_losses``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edgeface.errors import ConfigError
from edgeface.spec.model import RACES
from trainer.config import Config
from trainer.objective.age_losses import AGE_LOSSES, AgeLoss

_FEWEST_OF_A_GROUP = 2
"""Rows of a group in a batch from which on its mean loss says something about the group."""


@dataclass(frozen=True)
class Targets:
    """Labels of a batch: ``age`` float ``[N]`` years, NaN if unknown; ``low`` and ``high`` int ``[N]``, an interval's

    first and last year, -1 if unknown; ``gender`` and ``race`` int ``[N]``, -1 if unknown; ``mask`` uint8
    ``[N, S, S]``, 255 where the face is, or ``None``; ``soft``: columns of ``SoftLabels`` by name, or ``None``.
    """

    age: Tensor
    low: Tensor
    high: Tensor
    gender: Tensor
    race: Tensor
    mask: Tensor | None = None
    soft: Mapping[str, Tensor] | None = None

    @property
    def group(self) -> Tensor:
        """The cell of gender × race, int ``[N]``; -1 where one of them is unknown."""
        return torch.where((self.gender >= 0) & (self.race >= 0), self.gender * len(RACES) + self.race, -1)

    def to(self, device: torch.device) -> Targets:
        return self._each(lambda values: values.to(device, non_blocking=True))

    def __getitem__(self, rows: Tensor | slice) -> Targets:
        """The same labels of other rows, as in a permutation."""
        return self._each(lambda values: values[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Targets:
        age, low, high, gender, race = map(change, (self.age, self.low, self.high, self.gender, self.race))
        mask = None if self.mask is None else change(self.mask)
        soft = None if self.soft is None else {name: change(column) for name, column in self.soft.items()}
        return Targets(age, low, high, gender, race, mask, soft)


class ClassLoss(NamedTuple):
    """``function``: (raw ``[N, K]``, label int ``[N]``, class weights or ``None``, config) → ``[N]``."""

    function: Callable[[Tensor, Tensor, tuple[float, ...] | None, Config], Tensor]
    heads: frozenset[str]


GENDER_LOSSES: dict[str, ClassLoss] = {}
RACE_LOSSES: dict[str, ClassLoss] = {}


def class_loss(name: str, *gender_heads: str, race: bool) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a loss of the ``gender_heads`` that it suits and, if it can take more than two classes, of race."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        GENDER_LOSSES[name] = ClassLoss(function, frozenset(gender_heads))
        if race:
            RACE_LOSSES[name] = ClassLoss(function, frozenset())
        return function

    return register


def check(config: Config) -> None:
    """Raise ``ConfigError`` where a loss of the recipe does not exist or does not suit its head."""
    registries: dict[str, Mapping[str, AgeLoss | ClassLoss]] = {
        "age": AGE_LOSSES,
        "gender": GENDER_LOSSES,
        "race": RACE_LOSSES,
    }
    for task in config.tasks:
        key, name = f"{task}_loss", getattr(config, f"{task}_loss")
        if name not in registries[task]:
            raise ConfigError(f"`{key}`: expected {' or '.join(registries[task])}, found {name}")
        head = getattr(config, f"{task}_head", None)
        if head is not None and head not in registries[task][name].heads:
            suited = " or ".join(other for other, loss in registries[task].items() if head in loss.heads)
            raise ConfigError(f"`{key}`: {task}_head {head} learns by {suited or 'no loss there is'}, found {name}")


def task_losses(logits: Mapping[str, Tensor], targets: Targets, config: Config) -> dict[str, Tensor]:
    """Unweighted scalars: one a task, ``mask`` where the network draws one, ``fairness`` where the recipe wants it.

    ``logits`` are raw float32 outputs in training mode. A task's loss is the mean over the rows that carry its label, 0
    where none does. Exact ages and age intervals are means of their own, since an interval's likelihood tells less:
    ``interval_weight`` weighs it. An exact age takes precedence over an interval.
    """
    losses: dict[str, Tensor] = {}
    unfairness: list[Tensor] = []
    for task in config.tasks:
        values, known, of_interval = _row_losses(task, logits[task], targets, config)
        losses[task] = _mean_where(values, known & ~of_interval) + _mean_where(values, known & of_interval)
        if config.fairness_weight:
            unfairness.append(group_spread(values, torch.where(known, targets.group, -1)))
    if config.fairness_weight:
        losses["fairness"] = torch.stack(unfairness).sum()
    if "mask" in logits:
        losses["mask"] = mask_loss(logits["mask"], targets.mask)
    return losses


def _row_losses(task: str, raw: Tensor, targets: Targets, config: Config) -> tuple[Tensor, Tensor, Tensor]:
    """A task's loss of each row, which rows carry its label, and which of them only as an interval."""
    if task == "age":
        exact = torch.isfinite(targets.age)
        interval = ~exact & (targets.low >= 0)
        low = torch.where(exact, targets.age, targets.low.clamp_min(0)).nan_to_num().to(raw.dtype)
        high = torch.where(exact, targets.age, targets.high.clamp_min(0)).nan_to_num().to(raw.dtype)
        values = AGE_LOSSES[config.age_loss].function(raw, low, high, config)
        return values * torch.where(interval, config.interval_weight, 1.0), exact | interval, interval
    label = getattr(targets, task)
    if task == "gender":
        values = GENDER_LOSSES[config.gender_loss].function(raw, label.clamp_min(0), None, config)
    else:
        values = RACE_LOSSES[config.race_loss].function(raw, label.clamp_min(0), config.race_class_weights, config)
    return values, label >= 0, torch.zeros_like(label, dtype=torch.bool)


@class_loss("cross-entropy", "softmax", race=True)
def cross_entropy(raw: Tensor, label: Tensor, weights: tuple[float, ...] | None, config: Config) -> Tensor:
    """Cross-entropy with label smoothing and class weights."""
    weight = None if weights is None else torch.tensor(weights, dtype=raw.dtype, device=raw.device)
    return F.cross_entropy(raw, label, weight=weight, label_smoothing=config.label_smoothing, reduction="none")


@class_loss("bce", "sigmoid", race=False)
def binary_cross_entropy(raw: Tensor, label: Tensor, weights: tuple[float, ...] | None, config: Config) -> Tensor:
    """Binary cross-entropy of one output, the log-odds of class 1, with label smoothing."""
    smooth = label.to(raw.dtype) * (1 - config.label_smoothing) + config.label_smoothing / 2
    return F.binary_cross_entropy_with_logits(raw[:, 0], smooth, reduction="none")


@class_loss("focal", "softmax", "sigmoid", race=True)
def focal_loss(raw: Tensor, label: Tensor, weights: tuple[float, ...] | None, config: Config) -> Tensor:
    """Cross-entropy × (1 - p)^γ, p the true class's probability: what is right already counts little.

    Lin et al., "Focal loss for dense object detection", ICCV 2017. Takes no label smoothing: the smoothed part of a
    label would be what is hard.
    """
    pair = torch.cat([torch.zeros_like(raw), raw], dim=1) if raw.shape[1] == 1 else raw
    log_probability = F.log_softmax(pair, dim=1).gather(1, label[:, None])[:, 0]
    losses = -log_probability * (1 - log_probability.exp()).clamp_min(0) ** config.focal_gamma
    return losses if weights is None else losses * losses.new_tensor(weights)[label]


def mask_loss(raw: Tensor, mask: Tensor | None) -> Tensor:
    """Binary cross-entropy of each pixel, ``raw`` ``[N, 1, S, S]`` against ``mask`` uint8 ``[N, S, S]``."""
    if mask is None:
        raise ValueError("mask: the decoder's output has no target; the samples were loaded without masks")
    return F.binary_cross_entropy_with_logits(raw[:, 0], mask.to(raw.dtype) / 255)


def group_spread(values: Tensor, group: Tensor) -> Tensor:
    """Standard deviation, over the groups in the batch, of their mean loss; rows of negative ``group`` are left out.

    The variance of risks is what Krueger et al., "Out-of-distribution generalization via risk extrapolation" (V-REx),
    ICML 2021, add to the loss; its root has the loss's own unit. Groups of a single row are left out as noise.
    """
    groups = F.one_hot(group.clamp_min(0)).to(values.dtype) * (group >= 0)[:, None]
    counts = groups.sum(dim=0)
    present = counts >= _FEWEST_OF_A_GROUP
    means = (values @ groups) / counts.clamp_min(1)
    centre = _mean_where(means, present)
    return (_mean_where((means - centre).square(), present) + 1e-12).sqrt()


def with_class_weights(config: Config, race: NDArray[np.int64]) -> Config:
    """The recipe with the race weights that it asks for, ``race`` being the labels of the training images.

    ``inverse``: images / (classes × images of the class), so that every class counts the same in sum and an average
    image counts 1; a class without images keeps 1. These weights also have to be divided out of the answers.
    """
    if config.class_weighting != "inverse":
        return config
    counts = np.bincount(race[race >= 0], minlength=len(RACES))
    weights = np.where(counts > 0, counts.sum() / (len(RACES) * np.maximum(counts, 1)), 1.0)
    return dataclasses.replace(config, race_class_weights=tuple(float(weight) for weight in weights))


def _mean_where(values: Tensor, rows: Tensor) -> Tensor:
    return torch.where(rows, values, 0.0).sum() / rows.sum().clamp_min(1)
