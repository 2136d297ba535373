"""The training loop, readable top to bottom."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeface.common.console import echo
from edgeface.errors import ConfigError, DataError
from trainer.detector.config import Recipe
from trainer.detector.detector_losses import detector_loss
from trainer.detector.network import Detector, parameter_count
from trainer.detector.pretrained import load_onnx_weights
from trainer.detector.training_images import batches
from trainer.ema import averaged

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"
_SHAPE_SETTINGS = ("stem", "widths", "blocks", "neck", "folded")


def fit(recipe: Recipe, resume: bool = False) -> Path:
    """Train to ``recipe.steps`` and return the checkpoint's path.

    With ``resume`` a run goes on exactly where its last checkpoint left it: weights, averages, optimiser, and the next
    image of the stream.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out = Path(recipe.out)
    out.mkdir(parents=True, exist_ok=True)

    model = Detector(recipe)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if recipe.init:
        model.load_state_dict(load_checkpoint(Path(recipe.init), recipe)["averaged"])
    if recipe.start:
        load_onnx_weights(model, recipe.start)
    ema = averaged(model, recipe.ema)
    model.train()
    model.freeze(recipe.frozen_stages)
    optimiser = torch.optim.AdamW(_parameter_groups(model, recipe.weight_decay), lr=recipe.lr, betas=(0.9, 0.99))
    step = 0
    if resume:
        state = load_checkpoint(out / CHECKPOINT, recipe)
        model.load_state_dict(state["model"])
        ema.module.load_state_dict(state["averaged"])
        ema.n_averaged.fill_(state["step"])  # so that the average's warm-up goes on, too
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    echo(f"{parameter_count(model):,} parameters, step {step} of {recipe.steps} to {recipe.batch} images")

    canvas = (recipe.crop_px, recipe.crop_px)
    sums, started = dict.fromkeys(("score", "box", "landmarks", "total"), 0.0), time.perf_counter()
    for batch in batches(recipe, step):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            outputs = model(batch["image"])
        losses = detector_loss(outputs, batch, canvas, recipe)
        optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        step += 1
        ema.update_parameters(model)

        for name in sums:
            sums[name] += float(losses[name].detach()) / recipe.log_every
        if step % recipe.log_every == 0:
            speed = recipe.log_every * recipe.batch / (time.perf_counter() - started)
            _log(out / LOG, {"step": step, **sums, "lr": learning_rate(recipe, step), "pictures_per_s": speed})
            sums, started = dict.fromkeys(sums, 0.0), time.perf_counter()
        if step % recipe.save_every == 0 or step == recipe.steps:
            _save(out / CHECKPOINT, model, ema.module, optimiser, step, recipe)
    return out / CHECKPOINT


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    done = min(1.0, (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup))
    return recipe.lr_final + (recipe.lr - recipe.lr_final) * 0.5 * (1 + math.cos(math.pi * done))


def load_checkpoint(path: Path, recipe: Recipe | None = None) -> dict[str, Any]:
    """A checkpoint's content; its network has to be the ``recipe``'s. Raises ``DataError`` or ``ConfigError``."""
    if not path.is_file():
        raise DataError(f"no checkpoint at `{path}`; train first: python -m trainer.detector fit")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    for name in _SHAPE_SETTINGS if recipe else ():
        found, wanted = state["recipe"].get(name, getattr(Recipe, name)), getattr(recipe, name)
        if found != wanted:
            raise ConfigError(f"`{path}` has {name} = {found}, the recipe {wanted}; choose another `out`")
    return state


def load_model(path: Path) -> tuple[Detector, dict[str, Any]]:
    """The averaged network of a checkpoint, ready to answer, and the checkpoint."""
    state = load_checkpoint(path)
    model = Detector(Recipe(**{name: state["recipe"][name] for name in _SHAPE_SETTINGS if name in state["recipe"]}))
    model.load_state_dict(state["averaged"])
    return model.eval(), state


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Convolution kernels decay; biases and normalisation do not."""
    kernels = [p for p in model.parameters() if p.ndim > 1 and p.requires_grad]
    others = [p for p in model.parameters() if p.ndim <= 1 and p.requires_grad]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _save(
    path: Path, model: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer, step: int, recipe: Recipe
) -> None:
    state = {
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "recipe": dataclasses.asdict(recipe),
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def _log(path: Path, row: dict[str, float]) -> None:
    """One line to the terminal and to the log."""
    row = {key: round(value, 6) for key, value in row.items()}
    echo("  ".join(f"{key} {value:g}" for key, value in row.items()))
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
