"""Every setting of a training run: a frozen dataclass, filled from a TOML recipe and ``--set key=value``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgeface.geometry import template
from edgeface.spec import RACES, AlignmentSpec
from trainer import recipe

AMP_MODES = ("auto", "off", "bf16", "fp16")


@dataclass(frozen=True)
class Config:
    """A recipe. Paths are relative to the working folder; folds follow ``edgeface.datasets``."""

    name: str = "compact"

    # data
    utkface: tuple[str, ...] = ("../shared/data/utkface",)  # folders and zips
    fairface: tuple[str, ...] = ("../shared/data/fairface",)
    fairface_labels: str = "../shared/data/fairface/labels.csv"
    train_folds: tuple[int, ...] = (3, 4, 5, 6, 7, 8, 9)
    validation_folds: tuple[int, ...] = (2,)  # none: train for all epochs, keep the last weights
    utkface_share: float = 1.0  # of each set's training pictures, how many an epoch sees; above 1 repeats some
    fairface_share: float = 1.0

    # crops
    detector: str = ""  # ONNX file; empty: the shipped one
    cache: str = "runs/cache"
    input_size: int = 112  # side of a crop in pixels
    eye_distance: float = 0.34  # of the template, as a fraction of the side
    centre_y: float = 0.5  # height of the point halfway between eyes and mouth, same unit

    # network
    stem: int = 16  # channels of the first convolution
    widths: tuple[int, ...] = (32, 64, 128, 256)  # channels per stage; every stage halves the resolution
    depths: tuple[int, ...] = (1, 2, 2, 1)  # residual blocks per stage
    dropout: float = 0.2  # before the heads

    # loss
    age_sigma: float = 2.0  # years, of the soft age labels
    age_l1: float = 0.1  # weight of the expectation's absolute error, per year
    interval_weight: float = 1.0  # of FairFace's interval likelihood
    gender_weight: float = 1.5
    race_weight: float = 1.0
    race_class_weights: tuple[float, ...] = (1.0, 1.2, 1.1, 1.2, 1.5)
    label_smoothing: float = 0.05

    # optimisation
    epochs: int = 40
    batch: int = 96
    learning_rate: float = 2.5e-3
    weight_decay: float = 0.05
    warmup: float = 0.1  # fraction of all steps in which the rate rises
    ema: float = 0.999  # decay per step of the averaged weights
    patience: int = 10  # epochs without a better validation score before stopping
    grad_clip: float = 5.0

    # augmentation
    rotation_deg: float = 15.0
    scale: float = 0.15  # ± on a log scale
    shift: float = 0.06  # ± of the side
    colour: float = 0.4  # ± brightness, contrast and saturation
    degrade: float = 0.15  # probability each of blur and of low resolution
    grayscale: float = 0.1  # probability
    erase: float = 0.25  # probability
    cooldown: int = 2  # last epochs with only flips and little jitter, so that the network ends on undistorted crops

    # machine
    out: str = "runs/attributes"
    device: str = "auto"  # auto, cpu, cuda
    threads: int = 0  # 0: as many as there are cores
    amp: str = "auto"  # auto, off, bf16, fp16
    seed: int = 1
    limit: int = 0  # train on at most this many pictures a set; 0: all

    def __post_init__(self) -> None:
        recipe.problems([
            (self.epochs < 1, "epochs", self.epochs, "1 or more"),
            (self.batch < 2, "batch", self.batch, "2 or more, as batch normalisation needs it"),
            (not 32 <= self.input_size <= 512, "input_size", self.input_size, "32 to 512"),
            (self.amp not in AMP_MODES, "amp", self.amp, " or ".join(AMP_MODES)),
            (self.device not in ("auto", "cpu", "cuda"), "device", self.device, "auto, cpu or cuda"),
            (len(self.widths) != len(self.depths), "depths", self.depths, f"one per stage, as in widths {self.widths}"),
            (bool(set(self.train_folds) & set(self.validation_folds)), "validation_folds", self.validation_folds,
             "folds that are not trained on"),
            (len(self.race_class_weights) != len(RACES), "race_class_weights", self.race_class_weights,
             f"{len(RACES)} numbers"),
            (not 0 <= self.dropout < 1, "dropout", self.dropout, "0 to below 1"),
            (not self.utkface and not self.fairface, "utkface", self.utkface, "data in utkface, fairface or both"),
        ])  # fmt: skip

    @property
    def alignment(self) -> AlignmentSpec:
        """The template as the artefact will carry it."""
        points = template(1, self.eye_distance, self.centre_y).round(4)
        return AlignmentSpec(tuple((float(x), float(y)) for x, y in points))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def load_config(path: str | os.PathLike[str] | None, overrides: Iterable[str] = ()) -> Config:
    """A recipe file (``None``: the defaults) with ``key=value`` overrides. Raises ``ConfigError``."""
    return recipe.load(Config, path, overrides)
