"""The images behind a calibration set: found in a data set, hashed, and told apart from their look-alikes."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeface.calibration.set_file import CalibrationFile, CalibrationSet
from edgeface.errors import CalibrationError, ImageError
from edgeface.evaluation.datasets import FaceSet, LabelledFace, in_folds
from edgeface.evaluation.labelled_crops import Progress, labels_of, pictures
from edgeface.evaluation.metrics import AGE_BANDS
from edgeface.imaging.image_io import decode_image
from edgeface.spec.model import GENDERS, RACES
from edgeface.types import Image

HELD_OUT = (0, 1, 2)
"""Folds that are judged on: nothing may be fitted to them, ranges included."""
TRAINING_FOLDS = (3, 4, 5, 6, 7, 8, 9)
LOOK_ALIKE_LEVELS = 12.0
"""Thumbnails at most this far apart (root mean square, grey levels) show the same image.

Measured on UTKFace: re-encoding moves a thumbnail by at most 1.3 (WebP at quality 80; JPEG 60 at 112 px). Of its
16,574 training images 309 are nearer than 12 to a held-out one: the same photograph under another date, often with
another age, cropped or coloured a little differently. Different people begin at 13.7; nearly all are above 16.
"""

_THUMBNAIL_SIDE = 8
_READ_AHEAD = 256
_BLOCK = 1024
_SHOWN_NAMES = 3


class Picture(NamedTuple):
    """A file of the set as the data have it: the bytes ``raw`` of ``face``."""

    file: CalibrationFile
    face: LabelledFace
    raw: bytes

    @property
    def changed(self) -> bool:
        return hashlib.sha256(self.raw).hexdigest() != self.file.sha256


def locate(calibration: CalibrationSet, data: Sequence[FaceSet]) -> dict[CalibrationFile, Picture]:
    """The files of the set that the data have, changed or not, in the set's order.

    Folders do not matter; of several images with a file's name the one with the right bytes wins.
    """
    wanted = {_base(file.name) for file in calibration.files}
    found: dict[str, list[tuple[LabelledFace, bytes]]] = defaultdict(list)
    for face, raw in pictures(only(data, {f.name for s in data for f in s.faces if _base(f.name) in wanted})):
        found[_base(face.name)].append((face, raw))
    return {
        file: min((Picture(file, *candidate) for candidate in found[_base(file.name)]), key=lambda item: item.changed)
        for file in calibration.files
        if _base(file.name) in found
    }


def require_all(where: str, calibration: CalibrationSet, located: Mapping[CalibrationFile, Picture]) -> list[Picture]:
    """Every image of the set in its order. Raises ``CalibrationError`` where one is missing or has changed."""
    count = len(calibration.files)
    missing = [file.name for file in calibration.files if file not in located]
    if missing:
        raise CalibrationError(
            f"{where}: {len(missing)} of its {count} files are not in the data: {shown(missing)}; "
            "is this the data set it was drawn from?"
        )
    changed = [file.name for file, picture in located.items() if picture.changed]
    if changed:
        raise CalibrationError(
            f"{where}: {len(changed)} of its {count} files have other bytes than when it was drawn (sha256 differs): "
            f"{shown(changed)}; restore them or make the set again"
        )
    return list(located.values())


def thumbnail(image: Image) -> NDArray[np.float32]:
    """A hash of what an image shows, that survives scaling and re-encoding: float32 ``[192]``, 0…255.

    The mean colours of an 8×8 grid; compare with ``nearest``.
    """
    import cv2

    small = cv2.resize(image, (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).ravel()


def thumbnails(named: Sequence[tuple[str, bytes]], where: str) -> NDArray[np.float32]:
    """Thumbnails of (name, bytes) pairs: float32 ``[N, 192]``. Raises ``CalibrationError`` for what is no image."""

    def one(item: tuple[str, bytes]) -> NDArray[np.float32]:
        try:
            return thumbnail(decode_image(item[1], item[0]))
        except ImageError as error:
            raise CalibrationError(f"{where}: {error}") from error

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return _stack(list(pool.map(one, named)))


def fold_thumbnails(
    data: Sequence[FaceSet], folds: Collection[int], progress: Progress | None = None
) -> tuple[list[str], NDArray[np.float32]]:
    """Names and thumbnails of all images of ``folds`` that can be decoded; others cannot be judged on either."""

    def one(item: tuple[LabelledFace, bytes]) -> tuple[str, NDArray[np.float32]] | None:
        try:
            return item[0].name, thumbnail(decode_image(item[1], item[0].name))
        except ImageError:
            return None

    chosen = [replace(faces, faces=in_folds(faces.faces, folds)) for faces in data]
    total, done = sum(len(faces.faces) for faces in chosen), 0
    found: list[tuple[str, NDArray[np.float32]]] = []
    stream = pictures(chosen)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        while part := list(islice(stream, _READ_AHEAD)):
            found += [answer for answer in pool.map(one, part) if answer is not None]
            done += len(part)
            if progress:
                progress(done, total)
    return [name for name, _ in found], _stack([vector for _, vector in found])


def nearest(vectors: NDArray[np.float32], others: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each of ``vectors`` ``[N, D]`` the distance to the nearest of ``others`` ``[M, D]``, and its row.

    The distance is the root mean square difference in grey levels, infinite where there are no others.
    """
    distances, rows = np.full(len(vectors), np.inf), np.zeros(len(vectors), np.int64)
    if not len(others):
        return distances, rows
    squares = (others**2).sum(axis=1)
    for start in range(0, len(vectors), _BLOCK):
        part = vectors[start : start + _BLOCK]
        gaps = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ others.T
        best = gaps.argmin(axis=1)
        rows[start : start + _BLOCK] = best
        # From the vectors themselves: the quick formula above loses the digits of small distances.
        distances[start : start + _BLOCK] = np.sqrt(((part - others[best]) ** 2).mean(axis=1))
    return distances, rows


def only(data: Sequence[FaceSet], names: Collection[str]) -> list[FaceSet]:
    """The data without all faces but those with these names."""
    return [replace(faces, faces=tuple(f for f in faces.faces if f.name in names)) for faces in data]


def strata_of(faces: Sequence[LabelledFace]) -> list[str | None]:
    """Each face's gender, race and age band, named as ``metrics.groups`` does; ``None`` where a label is unknown."""
    labels = labels_of(faces)
    codes = zip(labels.gender.tolist(), labels.race.tolist(), labels.bands().tolist())
    return [f"{GENDERS[g]} {RACES[r]} {AGE_BANDS[a]}" if min(g, r, a) >= 0 else None for g, r, a in codes]


def shown(names: Sequence[str]) -> str:
    """The first few names and how many more there are, for a message."""
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(f"`{name}`" for name in names[:_SHOWN_NAMES]) + more


def fold_range(folds: Collection[int]) -> str:
    """Folds as people write them: "3-9", "0, 1", "2"."""
    ordered = sorted(folds)
    whole = len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1))
    return f"{ordered[0]}-{ordered[-1]}" if whole else ", ".join(map(str, ordered))


def _base(name: str) -> str:
    return PurePosixPath(name).name


def _stack(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack(vectors) if vectors else np.empty((0, 3 * _THUMBNAIL_SIDE**2), np.float32)
