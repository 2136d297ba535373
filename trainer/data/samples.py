"""Labelled crops of all data sets as arrays, one row a face, split by folds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeface.common.files import sha256_file
from edgeface.errors import DataError
from edgeface.evaluation.datasets import FaceSet, LabelledFace, find_faces, in_folds
from edgeface.evaluation.metrics import AGE_INTERVALS, Labels
from edgeface.inference.detector import FaceDetector, shipped_model
from edgeface.runtime.base import REFERENCE_RUNTIME
from trainer.config import Config
from trainer.data.crop_cache import Crops, Cut, Progress, Stack, cached_crops, cached_masks
from trainer.data.manifest import IntervalFace, open_manifest
from trainer.objective.losses import Targets

SOURCES = ("utkface", "fairface", "manifest")
NO_FOLD = -1
"""Fold of training images that the recipe excludes: they are in no split."""


@dataclass(frozen=True)
class Samples:
    """One row a face: ``pixels`` uint8 ``[N, S, S, 3]`` RGB (index it by rows), labels as in ``metrics.Labels``.

    ``low`` and ``high``: the age interval's first and last year, -1 where the age is known or nothing is. ``source``:
    its place in ``SOURCES``. ``found``: its crop was cut with the detector's landmarks, not as a centre square.
    ``name``: the image's path inside its folder or zip.
    ``masks`` uint8 ``[N, S, S]``, 255 where the face is, of recipes with a decoder. ``soft``: of ``SoftLabels.of``.
    """

    pixels: Stack | NDArray[np.uint8]
    age: NDArray[np.float32]
    interval: NDArray[np.int64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    gender: NDArray[np.int64]
    race: NDArray[np.int64]
    fold: NDArray[np.int64]
    source: NDArray[np.int64]
    found: NDArray[np.bool_]
    name: NDArray[np.str_]
    masks: Stack | NDArray[np.uint8] | None = None
    soft: dict[str, NDArray[np.float32]] | None = None

    def __len__(self) -> int:
        return len(self.fold)

    def rows(self, folds: Iterable[int], source: int | None = None) -> NDArray[np.int64]:
        """Row numbers of the faces in ``folds`` (of one source)."""
        wanted = np.isin(self.fold, list(folds))
        return np.flatnonzero(wanted if source is None else wanted & (self.source == source))

    def labels(self, rows: NDArray[np.int64]) -> Labels:
        return Labels(self.age[rows], self.interval[rows], self.gender[rows], self.race[rows])

    def targets(self, rows: NDArray[np.int64]) -> Targets:
        """Labels of ``rows`` as the losses want them, without masks."""
        arrays = (self.age, self.low, self.high, self.gender, self.race)
        age, low, high, gender, race = (torch.from_numpy(np.ascontiguousarray(array[rows])) for array in arrays)
        soft = None if self.soft is None else {name: torch.from_numpy(of[rows]) for name, of in self.soft.items()}
        return Targets(age, low, high, gender, race, soft=soft)


@dataclass(frozen=True)
class Loaded:
    """All samples of a recipe, and how many images each source had to leave out or cut without a found face."""

    samples: Samples
    skipped: dict[str, list[str]]
    unreadable: dict[str, list[str]]
    missed: dict[str, int]
    excluded: int


def face_sets(config: Config, folds: Iterable[int] | None = None) -> dict[str, list[FaceSet]]:
    """The labelled images of each source, thinned to ``limit``.

    Raises ``DataError`` where a source has none of ``folds`` (default: the recipe's training and validation folds).
    """
    wanted = {*config.train_folds, *config.validation_folds} if folds is None else set(folds)
    found: dict[str, list[FaceSet]] = {}
    for source, paths in zip(SOURCES, (config.utkface, config.fairface, config.manifests)):
        if not paths:
            continue
        if source == "manifest":
            whole = tuple(item for path in paths for item in open_manifest(path))
        else:
            whole = find_faces(paths, config.fairface_labels if source == "fairface" else None)
        found[source] = _thinned(whole, config.limit)
        if not any(in_folds(item.faces, wanted) for item in found[source]):
            raise DataError(f"{source}: no image of fold {', '.join(map(str, sorted(wanted)))} in {', '.join(paths)}")
    return found


def load_samples(config: Config, progress: Progress = lambda _: None) -> Loaded:
    """Crops and labels of every image of a recipe, cut with its detector or taken from the cache."""
    cut, cache, threads = cut_of(config), Path(config.cache), config.threads or os.cpu_count() or 1
    labels: list[Samples] = []
    crops: list[Crops] = []
    skipped: dict[str, list[str]] = {}
    unreadable: dict[str, list[str]] = {}
    missed: dict[str, int] = {}
    for source, sets in face_sets(config).items():
        skipped[source] = [name for item in sets for name in item.skipped]
        unreadable[source], missed[source] = [], 0
        for item in sets:
            crops.append(cached_crops(item, cut, cache, threads, progress))
            labels.append(_labels(item, crops[-1], SOURCES.index(source)))
            unreadable[source] += [face.name for face, good in zip(item.faces, crops[-1].readable) if not good]
            missed[source] += int((crops[-1].readable & ~crops[-1].found).sum())
    samples = _joined(labels, crops, config, threads)
    samples, excluded = _without(samples, config)
    return Loaded(samples, skipped, unreadable, missed, excluded)


def cut_of(config: Config) -> Cut:
    """How the recipe's crops are cut: its detector (or the shipped one), its template, its size."""
    path = Path(config.detector) if config.detector else shipped_model("detector.onnx")
    if not path.is_file():
        raise DataError(f"no detector at `{path}`: crops are cut with its landmarks; name one with --set detector=FILE")

    def detector() -> FaceDetector:  # the cache's key knows no runtime
        return FaceDetector(path, threads=1, runtime=REFERENCE_RUNTIME)

    return Cut(detector, sha256_file(path), config.alignment, config.input_size)


def read_names(path: str | os.PathLike[str]) -> frozenset[str]:
    """Image names from a text file, one a line, as ``bare_name`` has them or with fewer folders.

    Empty lines and what follows a ``#`` do not count. Raises ``DataError`` where it cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read `{path}`, the names of images to leave out: {error}") from error
    return frozenset(bare_name(name) for line in lines if (name := line.partition("#")[0].strip()))


def bare_name(name: str) -> str:
    """An image's path without its endings: copies of a data set in other formats keep it."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _labels(faces: FaceSet, crops: Crops, source: int) -> Samples:
    """The labels of one set's readable images; their pixels come with all others'."""
    rows = [face for face, readable in zip(faces.faces, crops.readable) if readable]
    ends = np.array([_ends(face) for face in rows], np.int64).reshape(-1, 2)
    return Samples(
        pixels=np.empty((len(rows), 0, 0, 3), np.uint8),
        age=np.array([face.age for face in rows], np.float32),
        interval=np.array([face.interval for face in rows], np.int64),
        low=ends[:, 0],
        high=ends[:, 1],
        gender=np.array([face.gender for face in rows], np.int64),
        race=np.array([face.race for face in rows], np.int64),
        fold=np.array([face.fold for face in rows], np.int64),
        source=np.full(len(rows), source, np.int64),
        found=crops.found[crops.readable],
        name=np.array([face.name for face in rows], np.str_),
    )


def _ends(face: LabelledFace) -> tuple[int, int]:
    """First and last year of a face's age interval, or -1."""
    if isinstance(face, IntervalFace):
        return face.low, face.high
    return AGE_INTERVALS[face.interval] if face.interval >= 0 else (-1, -1)


def _joined(labels: Sequence[Samples], crops: Sequence[Crops], config: Config, threads: int) -> Samples:
    rows = [np.flatnonzero(part.readable) for part in crops]
    masks = None
    if config.decoder:
        from trainer.data.masks import face_mask

        def mask_of(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return face_mask(crop, config.alignment)

        masks = Stack([cached_masks(part, mask_of, "masks", threads) for part in crops], rows)
    columns: dict[str, Any] = {item.name: np.concatenate([getattr(part, item.name) for part in labels])
               for item in fields(Samples) if item.name not in ("pixels", "masks", "soft")}  # fmt: skip
    return Samples(pixels=Stack([part.pixels for part in crops], rows), masks=masks, **columns)


def _without(samples: Samples, config: Config) -> tuple[Samples, int]:
    """The samples, training images that the recipe excludes being in no fold any more, and how many these are."""
    if not config.exclude:
        return samples, 0
    names = read_names(config.exclude)
    listed = np.array([not names.isdisjoint(_ends_of(bare_name(str(name)))) for name in samples.name], bool)
    out = listed & np.isin(samples.fold, config.train_folds)
    return replace(samples, fold=np.where(out, NO_FOLD, samples.fold)), int(out.sum())


def _ends_of(path: str) -> list[str]:
    """A path with all its folders, with fewer, and with none."""
    parts = PurePosixPath(path).parts
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _thinned(sets: Sequence[FaceSet], limit: int) -> list[FaceSet]:
    """At most about ``limit`` images in all, every k-th (0: all)."""
    total = sum(len(item.faces) for item in sets)
    step = max(1, -(-total // limit)) if limit else 1
    return [replace(item, faces=item.faces[::step]) for item in sets]
