"""One training run, readable top to bottom: data, network, loop, checkpoint, ``model.pt2``."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from edgeface.errors import ConfigError
from trainer import checkpoint, pretrain
from trainer.augmentation.augment import Augment
from trainer.augmentation.mixing import mixed
from trainer.calibrate import fit_calibration
from trainer.compute_device import pick_device, prepare
from trainer.config import Config
from trainer.data.batches import BatchLoader
from trainer.data.samples import Samples, load_samples
from trainer.data.sampling import epoch_order
from trainer.distributed import process_group
from trainer.ema import averaged
from trainer.log import Log
from trainer.models import build_net, load_net, load_start
from trainer.models.program import save_program, spec_of
from trainer.objective import losses
from trainer.objective.balance import make_balancer
from trainer.objective.losses import with_class_weights
from trainer.objective.optim import Schedule, make_optimizer, set_stage
from trainer.run_state import Run, some_crops, steps_of
from trainer.soft_labels.labels import attached
from trainer.validate import evaluate, penalty

_LOOK_EVERY = 50
"""Steps between two looks at whether the loss is still a number; each look waits for the device."""


def fit(config: Config, resume: bool = False) -> Path:
    """Train a recipe (or go on from its last checkpoint) and write ``model.pt2`` into its ``out`` folder.

    Every epoch ends with a checkpoint, from which ``resume`` continues exactly: the weights after a broken run are
    bit for bit those of an unbroken one on the same machine. Under ``torchrun`` the processes train together. Returns
    the path of ``model.pt2``.
    """
    with (
        process_group(lambda: pick_device(config.device)) as group,
        Log(Path(config.out), resume, group.is_main) as log,
    ):
        prepare(config)
        check(config)
        with log.bar("crops") as advance:
            loaded = group.rank0_first(lambda: load_samples(config, advance))
        log.data(loaded, config)
        samples, sentence = attached(loaded.samples, config)
        if sentence:
            log.say(sentence)
        training = samples.rows(config.train_folds)
        config = with_class_weights(config, samples.race[training])

        run = Run.start(config, steps_of(samples, config), group)
        if resume:
            checkpoint.load(run, config)
            log.say(f"going on after epoch {run.epoch} of {config.epochs}")
        else:
            warm_up(run, samples, config, log)
            checkpoint.save(run, config)
        log.say(f"{run.parameters / 1e6:.2f} M parameters on {group.size} × {run.device} (amp {run.amp})")

        feed = BatchLoader(samples, training, run.device)
        while run.epoch < config.epochs and run.stale < max(config.patience, 1):
            began = time.perf_counter()
            means = train_epoch(run, feed, config, log)
            figures = group.broadcast_from_rank0(
                lambda: evaluate(run.ema.module, samples, config.validation_folds, run.device)
            )
            rate, weights = run.schedule.rate, run.balancer.weights()
            run.finish_epoch(penalty(figures) if figures else None, means)
            checkpoint.save(run, config)
            seconds = round(time.perf_counter() - began, 1)
            log.epoch(run.epoch, {"seconds": seconds, "rate": rate, "loss": means, "weight": weights, **figures})

        return group.broadcast_from_rank0(lambda: finish(run, samples, config))


def check(config: Config) -> None:
    """Raise ``ConfigError`` for whatever in the recipe cannot be built or does not go together, before any work."""
    losses.check(config)
    if config.pretrain:
        pretrain.check(config)
    net = build_net(config)
    Schedule(config, make_optimizer(config, net, make_balancer(config, net)), steps=1)


def warm_up(run: Run, samples: Samples, config: Config, log: Log) -> None:
    """What comes before the first epoch: weights to start from, pretraining of the backbone."""
    if sentence := load_start(run.net, config, some_crops(samples, config)):
        log.say(sentence)
    if config.pretrain:
        pretrain.pretrain_backbone(config, run.net, samples, run.device, log)
    run.group.share_state(run.net)
    run.ema = averaged(run.net, config.ema)


def train_epoch(run: Run, feed: BatchLoader, config: Config, log: Log) -> dict[str, float]:
    """One pass over the epoch's images; the mean of each loss.

    What is random follows from the seed and the epoch: the order and the augmentation are the same on every process,
    dropout is not.
    """
    generator = torch.Generator().manual_seed(config.seed + 1_000_003 * (run.epoch + 1))
    torch.manual_seed(config.seed + 1_000_003 * (run.epoch + 1) + run.group.rank)
    run.net.train()
    set_stage(config, run.net, run.epoch)
    augment = Augment(config, cooldown=run.epoch >= config.epochs - config.cooldown)
    part = run.group.part(config.batch)
    order = epoch_order(feed.samples, config, generator)
    order = order[: run.schedule.steps * config.accumulate * config.batch]
    batches = order.reshape(-1, config.batch)[:, part]
    sums: dict[str, Tensor] = {}
    with log.bar(f"epoch {run.epoch + 1}/{config.epochs}", len(batches)) as advance:
        for number, batch in enumerate(feed.batches(batches), 1):
            crops = augment(batch.crops, augment.chances(config.batch, generator)[part])
            crops, targets = mixed(crops, batch.targets, config, generator)
            found = run.gradients(crops, targets, config)
            if number % config.accumulate == 0:
                run.step(config.grad_clip)
            sums = {name: sums[name] + loss if sums else loss for name, loss in found.items()}
            if number % _LOOK_EVERY == 0 or number == len(batches):
                _require_finite(sums["total"], run.epoch)
            advance(1)
    means = run.group.mean(torch.stack(list(sums.values())) / len(batches)).tolist()
    return {name: round(mean, 5) for name, mean in zip(sums, means)}


def _require_finite(total: Tensor, epoch: int) -> None:
    if not torch.isfinite(total):
        raise ConfigError(f"the loss became {total.item()} in epoch {epoch + 1}; lower `learning_rate` or set amp=off")


def finish(run: Run, samples: Samples, config: Config) -> Path:
    """Calibrate the chosen weights where there are validation images, and write checkpoint and ``model.pt2``."""
    rows = samples.rows(config.validation_folds)
    if len(rows):
        run.calibration = fit_calibration(run.chosen(config), samples, rows, run.device)
        checkpoint.save(run, config)
    net = run.chosen(config)
    figures = evaluate(net, samples, config.validation_folds, run.device)
    return save_program(net, spec_of(config, net, figures), Path(config.out) / "model.pt2")


def write_program(config: Config, folds: Collection[int]) -> Path:
    """``model.pt2`` of the last checkpoint, its spec carrying the metrics on ``folds`` (none: no metrics)."""
    net, trained = load_net(checkpoint.checkpoint_path(config))
    figures = judge(config, folds) if folds else {}
    return save_program(net, spec_of(trained, net, figures), Path(config.out) / "model.pt2")


def export_checkpoint(path: Path, output: Path) -> None:
    """An ONNX file of a checkpoint (or of a program), proven to give the same answers."""
    from edgeface.export.onnx_export import export_onnx

    if path.suffix == ".pt2":
        export_onnx(path, output)
        return
    net, config = load_net(path)
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(save_program(net, spec_of(config, net, {}), Path(folder) / "model.pt2"), output)


def judge(config: Config, folds: Collection[int]) -> dict[str, dict[str, float | int]]:
    """The metrics of the last checkpoint's chosen weights on ``folds``."""
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    device = pick_device(config.device)
    net, _ = load_net(checkpoint.checkpoint_path(config), device)
    return evaluate(net, load_samples(config).samples, folds, device)
