"""Judging a calibration set: it is what it says, its images are there, and none of them is judged on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.calibration.images import (
    HELD_OUT,
    LOOK_ALIKE_LEVELS,
    Picture,
    fold_range,
    fold_thumbnails,
    locate,
    nearest,
    require_all,
    shown,
    strata_of,
    thumbnails,
)
from edgeface.calibration.set_file import CalibrationSet
from edgeface.errors import CalibrationError
from edgeface.evaluation.datasets import FaceSet, in_folds
from edgeface.evaluation.labelled_crops import Progress
from edgeface.evaluation.metrics import AGE_BANDS
from edgeface.spec.model import GENDERS, RACES


@dataclass(frozen=True)
class Coverage:
    """How many images of each stratum ("male White 20-29") the set has, and how many its folds have in the data.

    ``compared`` is the number of held-out images that were sought in the set by what they show; with 0 the data
    had none, and only names were compared.
    """

    files: dict[str, int]
    available: dict[str, int]
    compared: int

    @property
    def size(self) -> int:
        return sum(self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """For JSON: every stratum that the data or the set know."""
        strata = {
            name: {"files": self.files.get(name, 0), "available": self.available.get(name, 0)}
            for name in (f"{g} {r} {a}" for g in GENDERS for r in RACES for a in AGE_BANDS)
            if name in self.available or name in self.files
        }
        return {"size": self.size, "held_out_pictures_compared": self.compared, "strata": strata}


def check_set(
    calibration: CalibrationSet,
    data: Sequence[FaceSet],
    held_out: Collection[int] = HELD_OUT,
    progress: Progress | None = None,
) -> Coverage:
    """Judge a set on the data it was drawn from, all folds of them.

    Raises ``CalibrationError`` where it is empty, lists an image twice, has one of a held-out fold (by the fold of its
    name, or because it shows what a held-out image shows), where one is missing, changed or cannot be decoded, is of
    another stratum than stated, or where the list does not have the size or digest that it states.
    """
    where = f"calibration set `{calibration.name}`"
    pictures = _present(where, calibration, data, held_out)
    _refuse_wrong_strata(where, pictures)
    vectors = thumbnails([(picture.file.name, picture.raw) for picture in pictures], where)
    names, held = fold_thumbnails(data, held_out, progress)
    _refuse_look_alikes(where, pictures, vectors, names, held)
    _refuse_edited(where, calibration)
    faces = [face for part in data for face in in_folds(part.faces, calibration.folds)]
    available = Counter(stratum for stratum in strata_of(faces) if stratum is not None)
    return Coverage(dict(Counter(file.stratum for file in calibration.files)), dict(available), len(names))


def verified_pictures(
    calibration: CalibrationSet, data: Sequence[FaceSet], held_out: Collection[int] = HELD_OUT
) -> list[Picture]:
    """The set's images in its order: all that ``check_set`` judges without looking at what images show.

    Raises ``CalibrationError`` as ``check_set`` does, but for strata and look-alikes.
    """
    where = f"calibration set `{calibration.name}`"
    pictures = _present(where, calibration, data, held_out)
    _refuse_edited(where, calibration)
    return pictures


def _present(
    where: str, calibration: CalibrationSet, data: Sequence[FaceSet], held_out: Collection[int]
) -> list[Picture]:
    """The set's images, each there once, unchanged and of the folds that the set states."""
    _refuse_doubles(where, calibration)
    located = locate(calibration, data)
    _refuse_folds(where, calibration, located.values(), held_out)
    return require_all(where, calibration, located)


def _refuse_doubles(where: str, calibration: CalibrationSet) -> None:
    """Raise ``CalibrationError`` for a set without files or with the same name or content twice."""
    if not calibration.files:
        raise CalibrationError(f"{where} is empty: ranges of no image are noise, make it again")
    names = Counter(file.name for file in calibration.files)
    contents = Counter(file.sha256 for file in calibration.files)
    doubles = [file.name for file in calibration.files if max(names[file.name], contents[file.sha256]) > 1]
    if doubles:
        raise CalibrationError(f"{where} lists the same image more than once: {shown(doubles)}; remove the doubles")


def _refuse_edited(where: str, calibration: CalibrationSet) -> None:
    """Raise ``CalibrationError`` where the list has not the size or the digest that the file states."""
    if len(calibration.files) != calibration.size:
        raise CalibrationError(
            f"{where} states size {calibration.size} and lists {len(calibration.files)} files: it was edited, "
            "make it again"
        )
    if calibration.stated_digest not in ("", calibration.digest):
        raise CalibrationError(
            f"{where} states digest {calibration.stated_digest[:12]}… and its files have {calibration.digest[:12]}…: "
            "it was edited, make it again"
        )


def _refuse_folds(
    where: str, calibration: CalibrationSet, pictures: Iterable[Picture], held_out: Collection[int]
) -> None:
    leaks = set(calibration.folds) & set(held_out)
    if leaks:
        raise CalibrationError(f"{where} was drawn from fold {fold_range(leaks)}, which is held out for judging")
    for picture in pictures:
        fold = picture.face.fold
        if fold in held_out:
            raise CalibrationError(
                f"{where}: `{picture.file.name}` is of fold {fold}, which is held out for judging; remove it"
            )
        if fold not in calibration.folds:
            stated = fold_range(calibration.folds) if calibration.folds else "none"
            raise CalibrationError(f"{where}: `{picture.file.name}` is of fold {fold}, the set states folds {stated}")


def _refuse_wrong_strata(where: str, pictures: Sequence[Picture]) -> None:
    for picture, stratum in zip(pictures, strata_of([picture.face for picture in pictures])):
        if picture.file.stratum != stratum:
            found = stratum or "no known stratum"
            raise CalibrationError(
                f"{where}: `{picture.file.name}` is listed as `{picture.file.stratum}`, its labels say {found}"
            )


def _refuse_look_alikes(
    where: str,
    pictures: Sequence[Picture],
    vectors: NDArray[np.float32],
    held_names: Sequence[str],
    held: NDArray[np.float32],
) -> None:
    """Raise ``CalibrationError`` where an image shows the same as a held-out one or as another of the set."""
    distances, rows = nearest(vectors, held)
    for picture, distance, row in zip(pictures, distances, rows):
        if distance <= LOOK_ALIKE_LEVELS:
            raise CalibrationError(
                f"{where}: `{picture.file.name}` shows the same as the held-out `{held_names[row]}` (their thumbnails "
                f"are {distance:.1f} grey levels apart); remove it"
            )
    for row in range(1, len(pictures)):
        distance, twin = (values[0] for values in nearest(vectors[row : row + 1], vectors[:row]))
        if distance <= LOOK_ALIKE_LEVELS:
            raise CalibrationError(
                f"{where}: `{pictures[row].file.name}` shows the same as `{pictures[twin].file.name}`; remove one"
            )
