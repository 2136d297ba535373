"""One training run, readable top to bottom: data, network, loop, checkpoint, ``model.pt2``."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgeface.errors import ConfigError, DataError
from trainer import checkpoint
from trainer.augment import Augment
from trainer.config import Config
from trainer.data import Samples, epoch_order, load_samples
from trainer.evaluate import evaluate, penalty
from trainer.log import Log
from trainer.losses import total_loss
from trainer.model import AttributeNet, Logits
from trainer.program import save_program, spec_of


def fit(config: Config, resume: bool = False) -> Path:
    """Train a recipe (or go on from its last checkpoint) and write ``model.pt2`` into its ``out`` folder.

    Every epoch ends with a checkpoint, from which ``resume`` continues exactly: the weights after a broken run are
    bit for bit those of an unbroken one on the same machine. Returns the path of ``model.pt2``.
    """
    device = pick_device(config.device)
    amp = pick_amp(config.amp, device)
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    torch.manual_seed(config.seed)

    with Log(Path(config.out), resume) as log:
        with log.bar("crops") as advance:
            loaded = load_samples(config, advance)
        log.data(loaded, config)
        samples = loaded.samples
        steps = len(epoch_order(samples, config, torch.Generator())) // config.batch
        if steps == 0:
            raise DataError(
                f"{len(samples.rows(config.train_folds))} training pictures do not fill a batch of {config.batch}"
            )

        run = Run.start(config, steps, device)
        if resume:
            checkpoint.load(run, config)
            log.say(f"going on after epoch {run.epoch} of {config.epochs}")
        log.say(f"{run.parameters / 1e6:.2f} M parameters on {device} (amp {amp}), {steps} steps an epoch")

        while run.epoch < config.epochs and run.stale < max(config.patience, 1):
            began = time.perf_counter()
            losses = train_epoch(run, samples, config, amp, log)
            figures = evaluate(run.ema.module, samples, config.validation_folds, device)
            run.finish_epoch(penalty(figures) if figures else None)
            checkpoint.save(run, config)
            seconds = time.perf_counter() - began
            log.epoch(run.epoch, {"seconds": round(seconds, 1), "rate": run.rate, "loss": losses, **figures})

        return _save(run, config, evaluate(run.chosen(config), samples, config.validation_folds, device))


def train_epoch(run: Run, samples: Samples, config: Config, amp: str, log: Log) -> dict[str, float]:
    """One pass over the epoch's pictures; the mean of each loss."""
    run.net.train()
    augment = Augment(config, cooldown=run.epoch >= config.epochs - config.cooldown)
    order = epoch_order(samples, config, torch.default_generator)
    batches = order[: len(order) // config.batch * config.batch].reshape(-1, config.batch)
    sums: dict[str, Tensor] = {}
    with log.bar(f"epoch {run.epoch + 1}/{config.epochs}", len(batches)) as advance:
        for rows in batches:
            crops = augment(samples.pixels[rows]).to(run.device, non_blocking=True)
            targets = samples.targets(rows).to(run.device)
            with autocast(run.device, amp):
                logits = run.net(crops)
            losses = total_loss(Logits(*(answer.float() for answer in logits)), targets, config)
            if not torch.isfinite(losses["total"]):
                found = f"the loss became {losses['total'].item()} in epoch {run.epoch + 1}"
                raise ConfigError(f"{found}; lower `learning_rate` or set amp=off")
            run.step(losses["total"], config.grad_clip)
            sums = {name: sums.get(name, 0.0) + loss.detach() for name, loss in losses.items()}
            advance(1)
    return {name: round(float(value) / len(batches), 4) for name, value in sums.items()}


@dataclass
class Run:
    """Everything that changes while training; ``trainer.checkpoint`` stores it."""

    device: torch.device
    net: AttributeNet
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    epoch: int = 0
    stale: int = 0
    best_penalty: float = math.inf
    best: dict[str, Tensor] | None = None

    @classmethod
    def start(cls, config: Config, steps: int, device: torch.device) -> Run:
        """A fresh network and its optimiser: AdamW (no decay on biases and norms) with a one-cycle cosine schedule."""
        net = AttributeNet(config).to(device, memory_format=torch.channels_last)
        ema = AveragedModel(net, multi_avg_fn=_averaging(config.ema), use_buffers=True)
        weights = [p for p in net.parameters() if p.ndim > 1]
        others = [p for p in net.parameters() if p.ndim <= 1]
        groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=steps * config.epochs, pct_start=config.warmup
        )
        scaler = torch.amp.GradScaler(device.type, enabled=pick_amp(config.amp, device) == "fp16")
        return cls(device, net, ema, optimizer, schedule, scaler)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.net.parameters())

    @property
    def rate(self) -> float:
        return float(self.schedule.get_last_lr()[0])

    def chosen(self, config: Config) -> AttributeNet:
        """A network with the best averaged weights so far, or the last ones where nothing is validated."""
        net = AttributeNet(config).to(self.device, memory_format=torch.channels_last)
        net.load_state_dict(self.best if self.best is not None else self.ema.module.state_dict())
        return net

    def step(self, loss: Tensor, grad_clip: float) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.net.parameters(), grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.ema.update_parameters(self.net)

    def finish_epoch(self, score: float | None) -> None:
        """Count the epoch; keep the averaged weights if they are the best so far (without a score: the last)."""
        self.epoch += 1
        if score is None:
            return
        self.stale += 1
        if score < self.best_penalty:
            self.stale, self.best_penalty = 0, score
            self.best = {name: value.detach().cpu().clone() for name, value in self.ema.module.state_dict().items()}


def _averaging(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """Exponential moving average whose memory grows with the steps done, so that early weights do not linger."""

    def update(averages: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        done = float(count)
        weight = 1 - min(decay, (1 + done) / (10 + done))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, weight)
        else:  # batch normalisation's step counters
            torch._foreach_copy_(averages, values)

    return update


def pick_device(name: str) -> torch.device:
    """``auto`` takes the GPU where there is one. Raises ``ConfigError`` for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`device`: cuda was asked for, but torch sees no GPU here; set device=auto or device=cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def pick_amp(name: str, device: torch.device) -> str:
    """``auto`` takes bf16 where the hardware multiplies it, fp16 on other GPUs, and nothing on other CPUs."""
    if name != "auto":
        if name == "fp16" and device.type == "cpu":
            raise ConfigError("`amp`: fp16 needs a GPU; set amp=auto")
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "off"


def autocast(device: torch.device, amp: str) -> Any:
    dtype = torch.float16 if amp == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=amp != "off")


def write_program(config: Config, folds: Collection[int]) -> Path:
    """``model.pt2`` of the last checkpoint, its spec carrying the metrics on ``folds`` (none: no metrics)."""
    run = _last_run(config)
    figures = evaluate(run.chosen(config), load_samples(config).samples, folds, run.device) if folds else {}
    return _save(run, config, figures)


def _save(run: Run, config: Config, figures: dict[str, Any]) -> Path:
    net = run.chosen(config)
    return save_program(net, spec_of(config, net, figures), Path(config.out) / "model.pt2")


def judge(config: Config, folds: Collection[int]) -> dict[str, dict[str, float | int]]:
    """The metrics of the last checkpoint's chosen weights on ``folds``."""
    run = _last_run(config)
    return evaluate(run.chosen(config), load_samples(config).samples, folds, run.device)


def _last_run(config: Config) -> Run:
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    run = Run.start(config, steps=1, device=pick_device(config.device))
    checkpoint.load(run, config)
    return run
