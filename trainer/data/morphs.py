"""Faces between faces: two aligned faces joined across a soft border, as more images to learn soft labels from.

Who learns what another network says of an image needs no label, only images, and images mixed of the few there
are make the answers hold on new ones too (Beyer et al., "Knowledge distillation: a good teacher is patient and
consistent", CVPR 2022). Soft labels come from networks that cannot be asked again for every mixed crop of a batch, as
``teachers`` can; so these are mixed once, as images, and go through ``embed`` and ``probe`` like all others. Both
faces are of one fold: heads that never saw it answer the pair as well.
"""

from __future__ import annotations

import csv
import dataclasses
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.common.files import atomic_path
from edgeface.errors import DataError
from edgeface.evaluation.metrics import AGE_INTERVALS
from trainer.config import Config
from trainer.data.samples import Samples, load_samples

ZIP = "morphs.zip"
MANIFEST = "morphs.csv"
SIDE = 160
_EYE_DISTANCE = 0.30
_CENTRE_Y = 0.5
_STARTS = [first for first, _ in AGE_INTERVALS]
_AGES_APART = 2.0
"""Intervals by which the ages of a pair differ less."""
_SOFTNESS = (0.05, 2.0)
"""Least and greatest width of the border as a fraction of the side; the greatest mixes nearly evenly everywhere."""
_OFF_CENTRE = 0.12
_JPEG_QUALITY = 92

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all."""


def write_morphs(
    config: Config, count: int, out: Path, progress: Progress, seed: int = 0, even_ages: bool = False
) -> Path:
    """Write ``count`` images, JPEG ``SIDE`` px, of the recipe's training images into ``out``; returns the manifest.

    The manifest (``trainer.data.manifest``) has their folds and no labels. The same seed and data give the same files,
    and
    other seeds other names, so that several sets go together. ``even_ages`` is that of ``pairs``. Raises ``DataError``
    where no fold has two faces.
    """
    cut = dataclasses.replace(config, input_size=SIDE, eye_distance=_EYE_DISTANCE, centre_y=_CENTRE_Y)
    samples, random = load_samples(cut).samples, np.random.default_rng(seed)
    rows = pairs(samples, config.train_folds, count, random, even_ages)
    names = [f"{samples.fold[one]}/morph-{seed}-{number:06d}.jpg" for number, (one, _) in enumerate(rows)]
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / ZIP) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for number, (name, (one, other)) in enumerate(zip(names, rows), 1):
            archive.writestr(zipfile.ZipInfo(name), _jpeg(morph(samples.pixels[one], samples.pixels[other], random)))
            progress(number, count)
    with atomic_path(out / MANIFEST) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "fold"), *((f"{ZIP}/{name}", name[0]) for name in names)])
    return out / MANIFEST


def pairs(
    samples: Samples, folds: Collection[int], count: int, random: np.random.Generator, even_ages: bool = False
) -> NDArray[np.int64]:
    """Row numbers ``[count, 2]`` of faces of one fold and of about one age.

    Each face comes as often as the others but for one; with ``even_ages`` each age interval of a fold does, so that the
    youngest and the oldest are in many pairs.
    """
    faces = [rows[samples.found[rows]] for rows in (samples.rows([fold]) for fold in folds)]
    if all(len(rows) < 2 for rows in faces):
        raise DataError(f"expected two found faces or more in one of the folds {', '.join(map(str, folds))}, "
                        "found none; name others with --set train_folds=[…]")  # fmt: skip
    found: list[NDArray[np.int64]] = []
    while sum(map(len, found)) < count:
        found.append(random.permutation(np.concatenate([_paired(rows, samples, random, even_ages) for rows in faces])))
    return np.concatenate(found)[:count]


def _paired(
    rows: NDArray[np.int64], samples: Samples, random: np.random.Generator, even_ages: bool
) -> NDArray[np.int64]:
    """Neighbours by age interval, which chance shifts first."""
    interval = _interval(rows, samples)
    if even_ages and len(rows):
        _, which, counts = np.unique(interval, return_inverse=True, return_counts=True)
        drawn = random.choice(len(rows), len(rows), p=1 / (counts[which] * len(counts)))
        rows, interval = rows[drawn], interval[drawn]
    shifted = interval + random.uniform(0, _AGES_APART, len(rows))
    couples: NDArray[np.int64] = rows[np.argsort(shifted)][: len(rows) // 2 * 2].reshape(-1, 2)
    return couples[np.flatnonzero(couples[:, 0] != couples[:, 1])]


def _interval(rows: NDArray[np.int64], samples: Samples) -> NDArray[np.int64]:
    ages = np.where(np.isnan(samples.age[rows]), samples.low[rows], samples.age[rows])
    return np.asarray(np.searchsorted(_STARTS, ages, "right"))


def morph(one: NDArray[np.uint8], other: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Two aligned faces uint8 ``[S, S, 3]`` as one: a logistic border of any direction and softness between them."""
    share = _border(len(one), random)[..., None]
    return np.rint(one * share + other * (1 - share)).astype(np.uint8)


def _border(side: int, random: np.random.Generator) -> NDArray[np.float64]:
    """The first face's share in each pixel ``[side, side]``: one half on a line near the middle."""
    angle, offset = random.uniform(0, 2 * np.pi), random.normal(0, _OFF_CENTRE)
    softness = np.exp(random.uniform(*np.log(_SOFTNESS)))
    at = (np.arange(side) + 0.5) / side - 0.5
    across = np.cos(angle) * at[None] + np.sin(angle) * at[:, None] - offset
    return np.asarray(1 / (1 + np.exp(-4 * across / softness)))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1])
