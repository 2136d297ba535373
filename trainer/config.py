"""Every setting of a training run: a frozen dataclass, filled from a TOML recipe and ``--set key=value``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeface.imaging.geometry import template
from edgeface.spec.model import RACES, AlignmentSpec
from trainer import config_file as recipe

AMP_MODES = ("auto", "off", "bf16", "fp16")
CLASS_WEIGHTINGS = ("fixed", "inverse")
TASKS = ("age", "gender", "race")
SMOKE_PICTURES = 96
"""Images of each set in a smoke run."""
SMOKE_SIZES = {"inception_v3": 75}
"""Sides of a smoke run's crops in pixels of backbones that need more than 32."""
NORMALISATIONS = ("symmetric", "imagenet")
POOLS = ("position", "mean", "flatten")


@dataclass(frozen=True)
class Config:
    """A recipe. Paths are relative to the working folder; folds follow ``edgeface.evaluation.datasets``."""

    name: str = "compact"
    tasks: tuple[str, ...] = TASKS  # heads that the network has; an image without a task's label does not train it

    # data
    utkface: tuple[str, ...] = ("../shared/data/utkface",)  # folders and zips
    fairface: tuple[str, ...] = ("../shared/data/fairface",)
    fairface_labels: str = "../shared/data/fairface/labels.csv"
    manifests: tuple[str, ...] = ()  # CSV files: path,age,gender,race[,fold], paths relative to the file
    train_folds: tuple[int, ...] = (3, 4, 5, 6, 7, 8, 9)
    validation_folds: tuple[int, ...] = (2,)  # none: train for all epochs, keep the last weights
    exclude: str = ""  # text file, one image name a line, that training leaves out (near-duplicates of test images)
    utkface_share: float = 1.0  # of each set's training images, how many an epoch sees; above 1 repeats some
    fairface_share: float = 1.0
    manifest_share: float = 1.0
    balance_over: tuple[str, ...] = ()  # labels whose combinations an epoch draws equally often, as in gender, race

    # crops
    detector: str = ""  # ONNX file; empty: the shipped one
    cache: str = "runs/cache"
    input_size: int = 112  # side of a crop in pixels
    eye_distance: float = 0.34  # of the template, as a fraction of the side
    centre_y: float = 0.5  # height of the point halfway between eyes and mouth, same unit

    # network
    backbone: str = "compact"  # a name of trainer.models.BACKBONES
    start: str = ""  # a checkpoint, state dict (.pt, .pth, .safetensors) or exported .onnx to start from; or "imagenet"
    normalisation: str = "symmetric"  # of pixels: symmetric (about -2 to 2) or imagenet
    stem: int = 16  # compact: channels of the first convolution
    widths: tuple[int, ...] = (32, 64, 128, 256)  # compact, plain, vgg: channels per stage; each halves the resolution
    depths: tuple[int, ...] = (1, 2, 2, 1)  # per stage: residual blocks (compact) or convolutions (plain, vgg)
    pool: str = "position"  # position (a weight per place, for aligned faces), mean, flatten
    attention: str = ""  # after the last stage: cbam, self or nothing
    decoder: bool = False  # auxiliary face-mask decoder while training
    dropout: float = 0.2  # before the heads
    age_head: str = "distribution"  # distribution (101 years), regression, ordinal, groups
    gender_head: str = "softmax"  # softmax, sigmoid
    age_groups: tuple[int, ...] = (0, 5, 15, 25, 45, 65)  # groups: first year of each
    age_hidden: tuple[int, ...] = ()  # widths of hidden layers of each head
    gender_hidden: tuple[int, ...] = ()
    race_hidden: tuple[int, ...] = ()
    head_activation: str = "relu"  # relu, gelu
    head_dropout: float = 0.0  # between a head's layers

    # loss
    age_loss: str = "distribution"  # distribution, mse, l1, huber, ordinal, cross-entropy; it has to suit age_head
    age_sigma: float = 2.0  # years, of the soft age labels
    age_l1: float = 0.1  # weight of the expectation's absolute error, per year
    age_scale: float = 1.0  # years that count as one in mse, l1 and huber
    interval_weight: float = 1.0  # of FairFace's interval likelihood
    gender_loss: str = "cross-entropy"  # cross-entropy, bce, focal
    race_loss: str = "cross-entropy"  # cross-entropy, focal
    focal_gamma: float = 2.0
    age_weight: float = 1.0
    gender_weight: float = 1.5
    race_weight: float = 1.0
    mask_weight: float = 1.0  # of the decoder's loss
    balance: str = "fixed"  # of the tasks: fixed, learned, uncertainty, gradnorm, pcgrad, dwa (from the weights above)
    race_class_weights: tuple[float, ...] = (1.0, 1.2, 1.1, 1.2, 1.5)
    class_weighting: str = "fixed"  # fixed (the weights above) or inverse (class frequency of the training images)
    label_smoothing: float = 0.05
    fairness_weight: float = 0.0  # of the spread of the loss between gender x race groups
    teachers: tuple[str, ...] = ()  # checkpoints whose averaged answers are learned too
    distill_weight: float = 1.0
    distill_temperature: float = 2.0
    soft_labels: str = ""  # .safetensors file of other networks' answers to the training images, learned too
    soft_weight: float = 1.0
    embedding: int = 0  # width of that file's vectors, which an auxiliary head learns while training; 0: it does not
    embedding_weight: float = 1.0

    # pretraining of the backbone before the first epoch
    pretrain: str = ""  # age-contrast: InfoNCE over age groups
    pretrain_epochs: int = 10
    pretrain_temperature: float = 0.07
    projector: tuple[int, ...] = (512, 128)

    # optimisation
    optimizer: str = "adamw"  # adamw, adam, sgd
    schedule: str = "onecycle"  # onecycle, cosine, plateau, constant
    epochs: int = 40
    batch: int = 96  # images a step over all processes, before accumulation
    accumulate: int = 1  # steps whose gradients are summed before the weights change
    learning_rate: float = 2.5e-3
    backbone_rate: float = 1.0  # the backbone's learning rate as a fraction of the heads'
    frozen_epochs: int = 0  # first epochs in which the backbone stays as it is
    frozen_rate: float = 0.0  # learning rate of these epochs; 0: learning_rate
    weight_decay: float = 0.05
    momentum: float = 0.9  # sgd
    warmup: float = 0.1  # fraction of all steps in which the rate rises
    plateau_factor: float = 0.5
    plateau_patience: int = 5
    ema: float = 0.999  # decay per step of the averaged weights; 0: none
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
    mixup: float = 0.0  # alpha of the Beta distribution; 0: off
    cutmix: float = 0.0
    cooldown: int = 2  # last epochs with only flips and little jitter, so that the network ends on undistorted crops

    # machine
    out: str = "runs/attributes"
    device: str = "auto"  # auto, cpu, cuda
    threads: int = 0  # 0: as many as there are cores
    amp: str = "auto"  # auto, off, bf16, fp16
    channels_last: bool = True
    compile: bool = False  # torch.compile
    deterministic: bool = False  # only operators that repeat bit for bit, at some cost in speed
    seed: int = 1
    limit: int = 0  # use at most this many images a set; 0: all
    smoke: bool = False  # a run of seconds that shows the recipe works: few images, two epochs, small crops

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
            (not 0 <= self.head_dropout < 1, "head_dropout", self.head_dropout, "0 to below 1"),
            (not self.tasks or not set(self.tasks) <= set(TASKS) or len(set(self.tasks)) < len(self.tasks), "tasks",
             self.tasks, f"some of {', '.join(TASKS)}, each once"),
            (self.normalisation not in NORMALISATIONS, "normalisation", self.normalisation,
             " or ".join(NORMALISATIONS)),
            (self.pool not in POOLS, "pool", self.pool, " or ".join(POOLS)),
            (self.attention not in ("", "cbam", "self"), "attention", self.attention, "cbam, self or nothing"),
            (self.head_activation not in ("relu", "gelu"), "head_activation", self.head_activation, "relu or gelu"),
            (min(self.stem, *self.widths, *self.age_hidden, *self.gender_hidden, *self.race_hidden) < 1, "widths",
             self.widths, "1 or more, as in stem and the heads' hidden layers"),
            (self.age_groups[:1] != (0,) or len(self.age_groups) < 2 or self.age_groups[-1] > 99
             or list(self.age_groups) != sorted(set(self.age_groups)), "age_groups", self.age_groups,
             "first years of two groups or more, from 0 rising to 99 at most"),
            *self._learning_problems(),
            *self._data_problems(),
        ])  # fmt: skip

    def _data_problems(self) -> list[tuple[bool, str, Any, str]]:
        """Data, sampling, augmentation, and how long the run is."""
        at_least_0 = ("utkface_share", "fairface_share", "manifest_share", "rotation_deg", "scale", "shift", "mixup",
                      "cutmix", "cooldown", "patience", "threads", "limit")  # fmt: skip
        fractions = ("colour", "degrade", "grayscale", "erase")
        balanced = ("age", "gender", "race")
        return [
            (not (self.utkface or self.fairface or self.manifests), "utkface", self.utkface,
             "data in utkface, fairface or manifests"),
            (not self.train_folds, "train_folds", self.train_folds, "one fold or more"),
            (self.accumulate < 1, "accumulate", self.accumulate, "1 or more"),
            (not 0 <= self.ema < 1, "ema", self.ema, "0 to below 1"),
            *((getattr(self, key) < 0, key, getattr(self, key), "0 or more") for key in at_least_0),
            *((not 0 <= getattr(self, key) <= 1, key, getattr(self, key), "0 to 1") for key in fractions),
            (not set(self.balance_over) <= set(balanced), "balance_over", self.balance_over,
             f"some of {', '.join(balanced)}"),
            (self.decoder and self.mixup + self.cutmix > 0, "decoder", self.decoder,
             "false with mixup or cutmix, since a mixed crop has no face mask of its own"),
        ]  # fmt: skip

    def _learning_problems(self) -> list[tuple[bool, str, Any, str]]:
        """Losses, pretraining and optimisation; names that are looked up in a registry are checked there."""
        at_least_0 = ("age_l1", "interval_weight", "focal_gamma", "age_weight", "gender_weight", "race_weight",
                      "mask_weight", "fairness_weight", "distill_weight", "soft_weight", "embedding",
                      "embedding_weight", "frozen_rate", "weight_decay",
                      "plateau_patience", "grad_clip")  # fmt: skip
        above_0 = ("age_sigma", "age_scale", "distill_temperature", "pretrain_epochs", "pretrain_temperature",
                   "learning_rate", "backbone_rate")  # fmt: skip
        below_1 = ("label_smoothing", "momentum", "warmup")
        return [
            *((getattr(self, key) < 0, key, getattr(self, key), "0 or more") for key in at_least_0),
            *((getattr(self, key) <= 0, key, getattr(self, key), "above 0") for key in above_0),
            *((not 0 <= getattr(self, key) < 1, key, getattr(self, key), "0 to below 1") for key in below_1),
            (min(self.race_class_weights) <= 0, "race_class_weights", self.race_class_weights, "numbers above 0"),
            (self.class_weighting not in CLASS_WEIGHTINGS, "class_weighting", self.class_weighting,
             " or ".join(CLASS_WEIGHTINGS)),
            (self.embedding > 0 and not self.soft_labels, "embedding", self.embedding, "0 without `soft_labels`"),
            (not self.projector or min(self.projector) < 1, "projector", self.projector, "a width a layer"),
            (not 0 <= self.frozen_epochs <= self.epochs, "frozen_epochs", self.frozen_epochs,
             f"0 to the {self.epochs} epochs there are"),
            (not 0 < self.plateau_factor < 1, "plateau_factor", self.plateau_factor, "above 0 and below 1"),
            (self.schedule == "plateau" and not self.validation_folds, "schedule", self.schedule,
             "another one where no validation_folds tell a plateau"),
        ]  # fmt: skip

    @property
    def alignment(self) -> AlignmentSpec:
        """The template as the artefact will carry it."""
        points = template(1, self.eye_distance, self.centre_y).round(4)
        return AlignmentSpec(tuple((float(x), float(y)) for x, y in points))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def load_config(path: str | os.PathLike[str] | None, overrides: Iterable[str] = ()) -> Config:
    """A recipe file (``None``: the defaults) with ``key=value`` overrides. Raises ``ConfigError``.

    ``smoke`` makes it small: what is left runs in seconds and goes through every stage of the recipe. An ``exclude``
    that is not there is sought beside the recipe.
    """
    config = recipe.load(Config, path, overrides)
    if path is not None and config.exclude and not Path(config.exclude).exists():
        beside = Path(path).parent / config.exclude
        if beside.is_file():  # whatever folder one stands in
            config = dataclasses.replace(config, exclude=os.fspath(beside))
    return smoked(config) if config.smoke else config


def smoked(config: Config) -> Config:
    """The recipe in small: few images, crops as small as its backbone takes, two epochs, one of them frozen."""
    return dataclasses.replace(
        config,
        limit=min(config.limit or SMOKE_PICTURES, SMOKE_PICTURES),
        start="" if config.start == "imagenet" else config.start,  # no download
        input_size=min(config.input_size, SMOKE_SIZES.get(config.backbone, 32)),
        batch=min(config.batch, 16),
        accumulate=min(config.accumulate, 2),
        epochs=min(config.epochs, 2),
        frozen_epochs=min(config.frozen_epochs, 1),
        pretrain_epochs=min(config.pretrain_epochs, 1),
        cooldown=min(config.cooldown, 1),
    )
