"""Calibration of a finished run: fit it on held-out faces and keep it in the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeface.common.files import atomic_path
from edgeface.errors import ConfigError
from edgeface.evaluation.metrics import Labels
from edgeface.evaluation.precropped import Detector
from edgeface.spec.metadata import model_spec
from edgeface.types import Attributes
from trainer import checkpoint as checkpoints
from trainer.calibrate import adjusted, fit_network
from trainer.evaluation.artefacts import CheckpointEstimator
from trainer.evaluation.evaluation_data import JudgedSet
from trainer.evaluation.judge import figures, plain
from trainer.models import load_compatible_weights
from trainer.models.calibration_values import Calibration
from trainer.models.predictions import attributes_of

_SOME = 512
"""Crops on which an exported twin's batch normalisations are measured."""


def recalibrate(
    checkpoint: Path,
    sets: Sequence[JudgedSet],
    detector: Detector | None,
    race_floor: float,
    out: Path,
    device: str = "auto",
) -> dict[str, Any]:
    """Fit a calibration on ``sets`` together, write it into a copy of ``checkpoint`` at ``out`` (which may be the same
    file) and tell the figures of each set before and after.

    Raises ``ConfigError`` where an image is of a fold that the run trained on: the fit would be flattered.
    """
    estimator = CheckpointEstimator(checkpoint, device)
    _refuse_trained(sets, estimator.config.train_folds)
    net, place = estimator.net, estimator.device
    cuts = {item.name: item.crops(estimator.spec, detector) for item in sets}
    pixels = np.concatenate([cut.pixels for cut in cuts.values()])
    fitted = fit_network(net, pixels, _joined([cut.labels for cut in cuts.values()]), place, race_floor)
    _write(checkpoint, fitted, out)
    steps = {"before": Calibration(), "after": fitted}
    told = {
        name: {step: _told(attributes_of(net, cut.pixels, place, used), cut.labels) for step, used in steps.items()}
        for name, cut in cuts.items()
    }
    return {"checkpoint": str(out), "calibration": fitted.to_dict(), "figures": plain(told)}


def take_calibration(checkpoint: Path, like: Path, out: Path) -> dict[str, Any]:
    """Write the calibration of ``like`` (a checkpoint or an exported .onnx) into a copy of ``checkpoint`` at ``out``.

    For final weights, trained on every fold but the test's: nothing is left to fit on, and a twin that left some out
    errs much the same. Raises ``ConfigError`` where ``like`` was never calibrated.
    """
    fitted = _calibration_of(like)
    _write(checkpoint, fitted, out)
    return {"checkpoint": str(out), "calibration": fitted.to_dict(), "like": str(like)}


def adjust_calibration(
    checkpoint: Path,
    like: Path,
    sets: Sequence[JudgedSet],
    detector: Detector | None,
    out: Path,
    device: str = "auto",
) -> dict[str, Any]:
    """``take_calibration``, adjusted by how differently the two networks answer ``sets``, which both were trained on.

    For a run that went on from ``like`` on the same images: it may have become surer, or less sure, of its answers.
    Raises ``ConfigError`` where ``like`` was never calibrated or is another network.
    """
    estimator = CheckpointEstimator(checkpoint, device)
    cuts = [item.crops(estimator.spec, detector) for item in sets]
    pixels, labels = np.concatenate([cut.pixels for cut in cuts]), _joined([cut.labels for cut in cuts])
    known = _calibration_of(like)
    twin = load_compatible_weights(like, estimator.config, torch.from_numpy(pixels[:_SOME])).to(estimator.device)
    raw = Calibration(age_temperature=known.age_temperature)
    before, after = (attributes_of(net, pixels, estimator.device, raw) for net in (twin, estimator.net))
    fitted = adjusted(known, before, after, labels)
    _write(checkpoint, fitted, out)
    return {"checkpoint": str(out), "calibration": fitted.to_dict(), "like": str(like), "adjusted_on": len(pixels)}


def _calibration_of(path: Path) -> Calibration:
    exported = path.suffix == ".onnx"
    raw = model_spec(path).training.get("calibration") if exported else checkpoints.read(path).get("calibration")
    if not raw:
        raise ConfigError(
            f"`{path}` carries no calibration; fit one first: python -m trainer calibrate {path} --data …"
        )
    return Calibration.from_dict(raw)


def _write(checkpoint: Path, fitted: Calibration, out: Path) -> None:
    state = {**checkpoints.read(checkpoint), "calibration": fitted.to_dict()}
    with atomic_path(out) as temporary:
        torch.save(state, temporary)


def _refuse_trained(sets: Sequence[JudgedSet], trained: Sequence[int]) -> None:
    seen = {face.fold for item in sets for faces in item.faces for face in faces.faces} & set(trained)
    if seen:
        folds = ", ".join(map(str, sorted(seen)))
        found = f"folds {folds} were trained on, so they flatter the network"
        raise ConfigError(f"{found}; calibrate on others with --folds, or take another run's calibration with --like")


def _joined(parts: Sequence[Labels]) -> Labels:
    columns = ("age", "interval", "gender", "race")
    return Labels(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def _told(said: Attributes, labels: Labels) -> dict[str, Any]:
    found = figures(said, labels)
    honest = found["honesty"]
    return {
        "age_mae": found["age"].get("mae"),
        "coverage90": honest["age"]["coverage90"],
        "coverage90_groups": honest["age"]["groups"],
        "gender_ece": honest["gender"]["ece"],
        "race_ece": honest["race"]["ece"],
        "race_accuracy": found["race"]["accuracy"],
        "race_recalls": {name: each["recall"] for name, each in found["race"]["classes"].items()},
    }
