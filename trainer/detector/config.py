"""The detector's recipe: one dataclass, read from TOML, overridden by ``--set key=value``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from trainer import config_file as recipe


@dataclass(frozen=True)
class Collection:
    """Photographs of one origin in a zip file, and what is known about them."""

    path: str
    share: float = 1.0  # how often a crop comes from it, beside the others' shares
    labels: str = ""  # the file that `label` writes and `fit` reads; empty: NAME.labels.npz beside the zip file
    boxes: str = ""  # JSON: file name to boxes [x1, y1, x2, y2, ...] drawn by people; only these photographs are used
    boxes_longest_px: int = 0  # the longest side of the images that `boxes` are drawn on, 0: these
    no_face: str = ""  # JSON: file name to places that look like a face and are none
    empty_prefix: str = ""  # photographs whose names begin so show no person
    fold_by: str = ""  # "name", "date" or "scene", see `photos.photo_labels.trained_on`; empty: all are trained on
    folds: tuple[int, ...] = (3, 4, 5, 6, 7, 8, 9)
    leave_out: tuple[str, ...] = ()  # names without ending, for near-duplicates of test photographs

    def __post_init__(self) -> None:
        recipe.problems([
            (self.share < 0, "share", self.share, "0 or more"),
            (self.fold_by not in ("", "name", "date", "scene"), "fold_by", self.fold_by, "name, date or scene"),
        ])  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Every setting of a training run. Lengths are pixels, paths are relative to the working directory."""

    # what to read and write
    shared: str = "../shared"  # holds data/, media/ and models/
    out: str = "runs/detector"  # checkpoints and logs
    onnx: str = "edgeface/assets/models/detector.onnx"  # what `export` writes
    # the images
    crop_px: int = 320
    max_faces: int = 0  # chips read per data set, 0 = all of the training folds
    max_scenes: int = 0  # training scenes read, 0 = all
    # the network
    stem: int = 16
    widths: tuple[int, ...] = (16, 32, 48, 64)  # channels at strides 4, 8, 16, 32
    blocks: tuple[int, ...] = (1, 3, 2, 1)  # 3x3 convolutions behind each stride's first one
    neck: int = 64
    folded: bool = False  # no batch normalisation: for going on from weights in which it is folded
    start_blocks: tuple[int, ...] = (1, 3, 2, 1)  # the blocks that `start` holds; deeper ones start from random weights
    # real photographs, see trainer/detector/photos; empty: composed images
    photographs: tuple[Collection, ...] = ()
    upright_fraction: float = 0.5  # of the crops; the others are turned by any angle
    hard_fraction: float = 0.3  # of the crops, from photographs without people
    # the loss
    box_weight: float = 2.0
    landmark_weight: float = 4.0
    sharp_px: float = 40.0  # faces smaller than this count less in the landmark loss
    # a second run
    init: str = ""  # a checkpoint whose averaged weights this run starts from
    frozen_stages: int = 0  # the stem and this many stages keep their weights, which saves half of a step's time
    start: str = ""  # an ONNX file of this project whose weights this run starts from
    # the optimisation
    steps: int = 10500
    batch: int = 16
    lr: float = 4e-3  # the peak; linear warm-up, then half a cosine down to lr_final
    lr_final: float = 4e-5
    warmup: int = 300
    weight_decay: float = 0.02
    ema: float = 0.999  # decay of the averaged weights, which are the ones exported
    seed: int = 1
    # the runtime's defaults, chosen on the validation images (python -m trainer.detector tune)
    longest_px: int = 640
    upscale: float = 1.0  # the teacher's answer depends on an image's scale, so agreement is best unscaled
    score_threshold: float = 0.5
    nms_iou: float = 0.3
    # the machine
    bfloat16: bool = True  # autocast; twice as fast on a CPU with AVX512-BF16 or AMX
    threads: int = 1
    workers: int = 1
    log_every: int = 50
    save_every: int = 250

    def __post_init__(self) -> None:
        recipe.problems([
            (self.crop_px % 32 != 0 or self.crop_px < 64, "crop_px", self.crop_px, "a multiple of 32 from 64"),
            (self.batch < 1, "batch", self.batch, "1 or more"),
            (self.steps < 1, "steps", self.steps, "1 or more"),
            (len(self.widths) != 4, "widths", self.widths, "four numbers, one a stride"),
            (len(self.blocks) != 4, "blocks", self.blocks, "four numbers, one a stride"),
            (not 0 <= self.ema < 1, "ema", self.ema, "0 up to below 1"),
        ])  # fmt: skip


def load_recipe(path: str | os.PathLike[str] | None, overrides: Iterable[str] = ()) -> Recipe:
    """A recipe file (``None``: the defaults) with ``key=value`` overrides. Raises ``ConfigError``."""
    return recipe.load(Recipe, path, overrides)
