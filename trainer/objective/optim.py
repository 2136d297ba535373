"""Optimiser, learning-rate schedule and the stages of a run: what is trained, and how fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeface.errors import ConfigError
from trainer.config import Config

_BALANCE_RATE = 0.01
"""Learning rate of balancing weights, whatever the network's: they are a handful, and to settle within an epoch."""


class Network(Protocol):
    """What this module needs to know of a network; the heads are all that is not the backbone."""

    def backbone_parameters(self) -> Iterable[nn.Parameter]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def modules(self) -> Iterator[nn.Module]: ...


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], Config], torch.optim.Optimizer]] = {
    "adamw": lambda groups, config: torch.optim.AdamW(groups, lr=config.learning_rate, fused=True),
    "adam": lambda groups, config: torch.optim.Adam(groups, lr=config.learning_rate, fused=True),
    "sgd": lambda groups, config: torch.optim.SGD(
        groups, lr=config.learning_rate, momentum=config.momentum, fused=True
    ),
}


def make_optimizer(config: Config, net: Network, balancer: nn.Module | None = None) -> torch.optim.Optimizer:
    """The recipe's optimiser over groups named ``backbone``, ``heads`` and ``balance``.

    A group's ``fraction`` is its share of the scheduled rate (0: the rate stays). Biases, norms and balancing weights
    do not decay. Raises ``ConfigError`` for an optimiser that does not exist.
    """
    if config.optimizer not in OPTIMIZERS:
        raise ConfigError(f"`optimizer`: expected {' or '.join(OPTIMIZERS)}, found {config.optimizer}")
    backbone = list(net.backbone_parameters())
    known = {id(p) for p in backbone}
    parts = (
        ("backbone", backbone, config.backbone_rate),
        ("heads", [p for p in net.parameters() if id(p) not in known], 1.0),
    )
    groups: list[dict[str, Any]] = []
    for name, parameters, fraction in parts:
        for decays in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == decays]
            decay = config.weight_decay if decays else 0.0
            if chosen:
                rate = config.learning_rate * fraction
                groups.append({"params": chosen, "name": name, "fraction": fraction, "lr": rate, "weight_decay": decay})
    if balancer is not None and (learned := list(balancer.parameters())):
        held = {"params": learned, "name": "balance", "fraction": 0.0, "lr": _BALANCE_RATE, "weight_decay": 0.0}
        if config.optimizer == "sgd":
            held["momentum"] = 0.0  # with it the weights would overshoot where losses are of very different sizes
        groups.append(held)
    return OPTIMIZERS[config.optimizer](groups, config)


def set_stage(config: Config, net: Network, epoch: int) -> bool:
    """Freeze or thaw the backbone for ``epoch`` (from 0); call after ``net.train()``. True while it is frozen.

    Frozen normalisations also keep their running statistics, else the frozen features would drift.
    """
    frozen = epoch < config.frozen_epochs
    for parameter in net.backbone_parameters():
        parameter.requires_grad_(not frozen)
    if frozen:
        for module in net.modules():
            if isinstance(module, _BatchNorm) and module.weight is not None and not module.weight.requires_grad:
                module.eval()
    return frozen


def onecycle(progress: float, warmup: float) -> float:
    """Up from 1/25 and down to 1/250,000 along half cosines.

    Smith, Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2019.
    """
    if progress < warmup:
        return _half_cosine(1 / 25, 1.0, progress / warmup)
    return _half_cosine(1.0, 1 / 25e4, (progress - warmup) / max(1 - warmup, 1e-9))


def cosine(progress: float, warmup: float) -> float:
    """Up from 0 in a line, down to 0 along half a cosine. Loshchilov, Hutter, "SGDR", ICLR 2017."""
    if progress < warmup:
        return progress / warmup
    return _half_cosine(1.0, 0.0, (progress - warmup) / max(1 - warmup, 1e-9))


def constant(progress: float, warmup: float) -> float:
    """Up from 0 in a line, then 1."""
    return min(1.0, progress / warmup) if warmup else 1.0


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "onecycle": onecycle,
    "cosine": cosine,
    "plateau": constant,  # times what end_epoch takes off
    "constant": constant,
}
"""(part of the run that is done, 0 … 1; ``warmup``, the part in which the rate rises) → factor of the learning rate."""


class Schedule:
    """Sets the learning rate of every group of an optimiser for its next step.

    The first ``frozen_epochs`` have a constant rate of their own, ``frozen_rate`` (0: ``learning_rate``); the schedule
    spans the epochs after them. ``steps``: the optimiser's steps in an epoch. With ``onecycle`` the momentum (of Adam:
    β₁) falls from 0.95 to 0.85 while the rate rises, and comes back.
    """

    def __init__(self, config: Config, optimizer: torch.optim.Optimizer, steps: int):
        if config.schedule not in SCHEDULES:
            raise ConfigError(f"`schedule`: expected {' or '.join(SCHEDULES)}, found {config.schedule}")
        self.config, self.optimizer, self.steps = config, optimizer, steps
        self.done = 0
        self.factor = 1.0  # of a plateau
        self.best, self.stale = math.inf, 0
        self._apply()

    @property
    def rate(self) -> float:
        """The heads' learning rate of the next step."""
        frozen_steps = self.config.frozen_epochs * self.steps
        if self.done < frozen_steps:
            return self.config.frozen_rate or self.config.learning_rate
        return (
            self.config.learning_rate * self.factor * SCHEDULES[self.config.schedule](self._progress(), self._warmup())
        )

    def step(self) -> None:
        """Call after each step of the optimiser."""
        self.done += 1
        self._apply()

    def end_epoch(self, penalty: float | None) -> None:
        """Take note of the epoch's validation score (lower is better); a plateau of scores lowers the rate."""
        if penalty is None or self.config.schedule != "plateau" or self.done <= self.config.frozen_epochs * self.steps:
            return
        self.stale += 1
        if penalty < self.best:
            self.best, self.stale = penalty, 0
        if self.stale > self.config.plateau_patience:
            self.factor, self.stale = self.factor * self.config.plateau_factor, 0
        self._apply()

    def state_dict(self) -> dict[str, float | int]:
        return {"done": self.done, "factor": self.factor, "best": self.best, "stale": self.stale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done, self.factor, self.best, self.stale = (state[key] for key in ("done", "factor", "best", "stale"))
        self._apply()

    def _span(self) -> int:
        """Steps of the schedule, at least 2."""
        return max(2, (self.config.epochs - self.config.frozen_epochs) * self.steps)

    def _progress(self) -> float:
        return min(1.0, (self.done - self.config.frozen_epochs * self.steps) / (self._span() - 1))

    def _warmup(self) -> float:
        """The part of the way from the first step to the last after which the rate is full."""
        return max(0.0, (self.config.warmup * self._span() - 1) / (self._span() - 1))

    def _apply(self) -> None:
        rate = self.rate
        for group in self.optimizer.param_groups:
            if group["fraction"]:
                group["lr"] = rate * group["fraction"]
                if self.config.schedule == "onecycle":
                    self._set_momentum(group)

    def _set_momentum(self, group: dict[str, Any]) -> None:
        progress, warmup = max(0.0, self._progress()), self._warmup()
        if progress < warmup:
            momentum = _half_cosine(0.95, 0.85, progress / warmup)
        else:
            momentum = _half_cosine(0.85, 0.95, (progress - warmup) / max(1 - warmup, 1e-9))
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum


def _half_cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(part, 1.0))) / 2
