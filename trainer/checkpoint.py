"""A run on disk after every epoch, and back again so exactly that going on equals never having stopped."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgeface.common.files import atomic_path
from edgeface.common.toml_file import from_table
from edgeface.errors import ArtifactError, ConfigError
from trainer.config import Config

if TYPE_CHECKING:
    from trainer.run_state import Run

_MACHINE = frozenset(
    {"out", "cache", "device", "threads", "detector", "utkface", "fairface", "fairface_labels", "manifests", "exclude",
     "compile"}
)  # fmt: skip
"""Settings that may differ when a run goes on: where things lie and what computes. The rest shapes the result."""


def checkpoint_path(config: Config) -> Path:
    return Path(config.out) / "last.pt"


def save(run: Run, config: Config) -> None:
    """Write the run's whole state to ``last.pt`` (tensors and plain values only); of several processes the first does.

    No random state is in it: an epoch's follows from the seed and the epoch's number.
    """
    if not run.group.is_main:
        return
    state = {
        "config": {key: list(value) if isinstance(value, tuple) else value for key, value in config.to_dict().items()},
        "net": run.net.state_dict(),
        "ema": run.ema.state_dict(),
        "balancer": run.balancer.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "schedule": run.schedule.state_dict(),
        "scaler": run.scaler.state_dict(),
        "epoch": run.epoch,
        "stale": run.stale,
        "best_penalty": run.best_penalty,
        "best": run.best,
        "calibration": run.calibration.to_dict(),
    }
    with atomic_path(checkpoint_path(config)) as temporary:
        torch.save(state, temporary)


def load(run: Run, config: Config) -> None:
    """Bring ``run`` to the state of ``last.pt``. Raises ``ArtifactError`` or, for another recipe, ``ConfigError``."""
    path = checkpoint_path(config)
    state = read(path)
    _check_same(from_table(Config, state["config"], f"checkpoint `{path}`"), config, path)
    try:
        for part in ("net", "ema", "balancer", "optimizer", "schedule", "scaler"):
            getattr(run, part).load_state_dict(state[part])
        run.epoch, run.stale = state["epoch"], state["stale"]
        run.best_penalty, run.best = state["best_penalty"], state["best"]
    except (KeyError, RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"`{path}` holds no run that this trainer can go on with; start again in another folder with --set out=DIR"
        ) from error


def require_same(config: Config) -> None:
    """Raise ``ConfigError`` where the checkpoint of ``config.out`` is of another recipe."""
    path = checkpoint_path(config)
    _check_same(from_table(Config, read(path)["config"], f"checkpoint `{path}`"), config, path)


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's content, without unpickling code. Raises ``ArtifactError`` where it is missing or damaged."""
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise ArtifactError(f"no checkpoint at `{path}`: start the run without --resume") from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ArtifactError(
            f"`{path}` is not a checkpoint of this trainer or is damaged; remove it and start again"
        ) from error


def _check_same(stored: Config, asked: Config, path: Path) -> None:
    for item in fields(Config):
        old, new = getattr(stored, item.name), getattr(asked, item.name)
        derived = item.name == "race_class_weights" and asked.class_weighting == "inverse"  # from the data
        if old != new and item.name not in _MACHINE and not derived:
            raise ConfigError(
                f"`{path}` was trained with {item.name} = {old}, now it is {new}; "
                f"go on with --set {item.name}={old}, or start again in another folder with --set out=DIR"
            )
