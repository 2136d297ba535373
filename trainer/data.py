"""Labelled crops of all data sets as plain arrays, split by folds, and the order in which an epoch sees them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgeface.artifact import sha256_file
from edgeface.datasets import FaceSet, find_faces, in_folds
from edgeface.errors import DataError
from edgeface.metrics import AGE_INTERVALS, Labels
from edgeface.pipeline.detect import FaceDetector, shipped_model
from trainer.config import Config
from trainer.crops import Crops, Cut, Progress, cached_crops
from trainer.losses import Targets

SOURCES = ("utkface", "fairface")


@dataclass(frozen=True)
class Samples:
    """One row a face: ``pixels`` uint8 ``[N, S, S, 3]`` RGB, labels as in ``metrics.Labels``, ``source`` its data set.

    ``found``: its crop was cut with the detector's landmarks, not as a centre square.
    """

    pixels: NDArray[np.uint8]
    age: NDArray[np.float32]
    interval: NDArray[np.int64]
    gender: NDArray[np.int64]
    race: NDArray[np.int64]
    fold: NDArray[np.int64]
    source: NDArray[np.int64]
    found: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.fold)

    def rows(self, folds: Iterable[int], source: int | None = None) -> NDArray[np.int64]:
        """Row numbers of the faces in ``folds`` (of one source)."""
        wanted = np.isin(self.fold, list(folds))
        return np.flatnonzero(wanted if source is None else wanted & (self.source == source))

    def labels(self, rows: NDArray[np.int64]) -> Labels:
        return Labels(self.age[rows], self.interval[rows], self.gender[rows], self.race[rows])

    def targets(self, rows: NDArray[np.int64]) -> Targets:
        """Labels of ``rows`` as the losses want them."""
        interval = self.interval[rows]
        ends = np.array(AGE_INTERVALS)[interval]
        ends[interval < 0] = -1
        arrays = (self.age[rows], ends[:, 0], ends[:, 1], self.gender[rows], self.race[rows])
        return Targets(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))


@dataclass(frozen=True)
class Loaded:
    """All samples of a recipe, and how many pictures each source had to leave out or cut without a found face."""

    samples: Samples
    skipped: dict[str, list[str]]
    unreadable: dict[str, int]
    missed: dict[str, int]


def face_sets(config: Config, folds: Iterable[int] | None = None) -> dict[str, list[FaceSet]]:
    """The labelled pictures of each source, thinned to ``limit``.

    Raises ``DataError`` where a source has none of ``folds`` (default: the recipe's training and validation folds).
    """
    wanted = {*config.train_folds, *config.validation_folds} if folds is None else set(folds)
    found: dict[str, list[FaceSet]] = {}
    for source, paths, labels in (
        ("utkface", config.utkface, None),
        ("fairface", config.fairface, config.fairface_labels),
    ):
        whole = find_faces(paths, labels) if paths else ()
        found[source] = _thinned(whole, config.limit)
        if not any(in_folds(item.faces, wanted) for item in found[source]) and paths:
            raise DataError(f"{source}: no picture of fold {', '.join(map(str, sorted(wanted)))} in {', '.join(paths)}")
    return found


def load_samples(config: Config, progress: Progress = lambda _: None) -> Loaded:
    """Crops and labels of every picture of a recipe, cut with its detector or taken from the cache."""
    cut = cut_of(config)
    threads = config.threads or os.cpu_count() or 1
    parts: list[Samples] = []
    loaded = Loaded(Samples(*[np.empty(0)] * len(fields(Samples))), {}, {}, {})
    for code, (source, sets) in enumerate(face_sets(config).items()):
        loaded.skipped[source] = [name for item in sets for name in item.skipped]
        loaded.unreadable[source] = loaded.missed[source] = 0
        for item in sets:
            crops = cached_crops(item, cut, Path(config.cache), threads, progress)
            parts.append(_samples(item, crops, code))
            loaded.unreadable[source] += int((~crops.readable).sum())
            loaded.missed[source] += int((crops.readable & ~crops.found).sum())
    joined = Samples(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Samples)))
    return replace(loaded, samples=joined)


def cut_of(config: Config) -> Cut:
    """How the recipe's crops are cut: its detector (or the shipped one), its template, its size."""
    path = Path(config.detector) if config.detector else shipped_model("detector.onnx")
    if not path.is_file():
        raise DataError(f"no detector at `{path}`: crops are cut with its landmarks; name one with --set detector=FILE")
    return Cut(lambda: FaceDetector(path, threads=1), sha256_file(path), config.alignment, config.input_size)


def epoch_order(samples: Samples, config: Config, generator: torch.Generator) -> NDArray[np.int64]:
    """Shuffled row numbers of one epoch: each source's training pictures ``share`` times (parts drawn at random)."""
    picked = []
    for source, share in enumerate((config.utkface_share, config.fairface_share)):
        rows = samples.rows(config.train_folds, source)
        for part in (1.0,) * int(share) + (share - int(share),):
            shuffled = torch.randperm(len(rows), generator=generator).numpy()
            picked.append(rows[shuffled[: round(part * len(rows))]])
    order = np.concatenate(picked)
    return order[torch.randperm(len(order), generator=generator).numpy()]


def _samples(faces: FaceSet, crops: Crops, source: int) -> Samples:
    """The readable pictures of one set."""
    kept = crops.readable
    rows = [face for face, readable in zip(faces.faces, kept) if readable]
    return Samples(
        crops.pixels[kept] if not kept.all() else crops.pixels,
        np.array([face.age for face in rows], np.float32),
        np.array([face.interval for face in rows], np.int64),
        np.array([face.gender for face in rows], np.int64),
        np.array([face.race for face in rows], np.int64),
        np.array([face.fold for face in rows], np.int64),
        np.full(len(rows), source, np.int64),
        crops.found[kept],
    )


def _thinned(sets: Sequence[FaceSet], limit: int) -> list[FaceSet]:
    """At most about ``limit`` pictures in all, every k-th (0: all)."""
    total = sum(len(item.faces) for item in sets)
    step = max(1, -(-total // limit)) if limit else 1
    return [replace(item, faces=item.faces[::step]) for item in sets]
