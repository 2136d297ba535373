"""Everything that changes while training, and one optimiser step of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgeface.errors import DataError
from trainer.compute_device import autocast, pick_amp
from trainer.config import Config
from trainer.data.samples import Samples
from trainer.data.sampling import epoch_length
from trainer.distributed import Group, synchronised
from trainer.ema import averaged
from trainer.models import AttributeNet, build_net
from trainer.models.calibration_values import Calibration
from trainer.objective.balance import Balancer, make_balancer
from trainer.objective.losses import Targets, task_losses
from trainer.objective.optim import Schedule, make_optimizer
from trainer.soft_labels.distill import Teachers, distillation_loss
from trainer.soft_labels.labels import soft_losses

_SOME = 512


def steps_of(samples: Samples, config: Config) -> int:
    """Optimiser steps in an epoch. Raises ``DataError`` where the images do not fill one."""
    steps = epoch_length(samples, config) // (config.batch * config.accumulate)
    if steps == 0:
        pictures, batch = len(samples.rows(config.train_folds)), config.batch * config.accumulate
        raise DataError(f"{pictures} training images do not fill a batch of {batch}")
    return steps


def some_crops(samples: Samples, config: Config) -> Tensor:
    """A few hundred training crops uint8 ``[N, S, S, 3]``, evenly spaced, for what has to be measured on real ones."""
    rows = samples.rows(config.train_folds)
    return torch.from_numpy(samples.pixels[rows[:: -(-len(rows) // _SOME)]])


@dataclass
class Run:
    """Everything that changes while training; ``trainer.checkpoint`` stores it."""

    group: Group
    amp: str
    teachers: Teachers | None
    net: AttributeNet
    forward: nn.Module
    ema: AveragedModel
    balancer: Balancer
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    epoch: int = 0
    stale: int = 0
    best_penalty: float = math.inf
    best: dict[str, Tensor] | None = None
    calibration: Calibration = field(default_factory=Calibration)

    @classmethod
    def start(cls, config: Config, steps: int, group: Group) -> Run:
        """A fresh network, the same on every process, and what trains it; an epoch has ``steps`` steps."""
        torch.manual_seed(config.seed)
        net = build_net(config).to(group.device)
        if config.channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        synchronised(net, group)
        balancer = make_balancer(config, net).to(group.device)
        optimizer = make_optimizer(config, net, balancer)
        amp = pick_amp(config.amp, group.device)
        return cls(
            group=group,
            amp=amp,
            teachers=Teachers.load(config, group.device) if config.teachers else None,
            net=net,
            forward=torch.compile(net) if config.compile else net,  # type: ignore[arg-type]
            ema=averaged(net, config.ema),
            balancer=balancer,
            optimizer=optimizer,
            schedule=Schedule(config, optimizer, steps),
            scaler=torch.amp.GradScaler(group.device.type, enabled=amp == "fp16"),
        )

    @property
    def device(self) -> torch.device:
        return self.group.device

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.net.parameters())

    def chosen(self, config: Config) -> AttributeNet:
        """A network with the best averaged weights so far, or the last ones where nothing is validated."""
        net = build_net(config).to(self.device)
        net.load_state_dict(self.best if self.best is not None else self.ema.module.state_dict())
        net.calibration = self.calibration
        return net

    def gradients(self, crops: Tensor, targets: Sequence[tuple[Targets, float]], config: Config) -> dict[str, Tensor]:
        """Add the gradients of a batch's losses to those gathered so far; returns the losses, detached."""
        with autocast(self.device, self.amp):
            logits = self.forward(crops)
        logits = {name: raw.float() for name, raw in logits.items()}
        found = _weighed([(_losses(logits, labels, config), weight) for labels, weight in targets])
        if self.teachers is not None:
            found["distill"] = distillation_loss(logits, self.teachers.answers(crops), config)
        total = self.balancer.backward(found, lambda loss: self.scaler.scale(loss / config.accumulate))
        return {"total": total, **{name: loss.detach() for name, loss in found.items()}}

    def step(self, grad_clip: float) -> None:
        """Change the weights by the gradients gathered."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.group.share_gradients(parameters)
        self.scaler.unscale_(self.optimizer)
        if grad_clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.ema.update_parameters(self.net)

    def finish_epoch(self, score: float | None, means: Mapping[str, float]) -> None:
        """Count the epoch; keep the averaged weights if they are the best so far (without a score: the last)."""
        self.epoch += 1
        self.schedule.end_epoch(score)
        self.balancer.end_epoch(means)
        if score is None:
            return
        self.stale += 1
        if score < self.best_penalty:
            self.stale, self.best_penalty = 0, score
            self.best = {name: value.detach().cpu().clone() for name, value in self.ema.module.state_dict().items()}


def _losses(logits: Mapping[str, Tensor], targets: Targets, config: Config) -> dict[str, Tensor]:
    """What the labels say, and what the soft labels say where there are some."""
    soft = {} if targets.soft is None else soft_losses(logits, targets.soft, config)
    return task_losses(logits, targets, config) | soft


def _weighed(found: Sequence[tuple[dict[str, Tensor], float]]) -> dict[str, Tensor]:
    """The weighted sum of several dictionaries of losses."""
    first = found[0][0]
    return {name: sum((weight * part[name] for part, weight in found), torch.zeros_like(first[name])) for name in first}
