"""Drawing a calibration set: as even over age bands, genders and races as the data allow, and without leaks."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeface.calibration.images import (
    HELD_OUT,
    LOOK_ALIKE_LEVELS,
    TRAINING_FOLDS,
    fold_range,
    fold_thumbnails,
    nearest,
    only,
    strata_of,
    thumbnails,
)
from edgeface.calibration.set_file import CalibrationFile, CalibrationSet
from edgeface.errors import CalibrationError
from edgeface.evaluation.datasets import FaceSet, in_folds
from edgeface.evaluation.labelled_crops import Progress, pictures


class _Drawn(NamedTuple):
    """What has to be known of an image before it may enter the set."""

    sha256: str
    thumbnail: NDArray[np.float32]


def draw(
    data: Sequence[FaceSet],
    size: int,
    seed: int,
    folds: Collection[int] = TRAINING_FOLDS,
    held_out: Collection[int] = HELD_OUT,
    *,
    name: str = "calibration",
    source: str = "",
    licence: str = "",
    progress: Progress | None = None,
) -> CalibrationSet:
    """A set of ``size`` images of ``folds``.

    Strata (age band × gender × race) take turns, each giving the next of its images, until the set is full: no
    stratum is short while another has two more. Images come in the order of a hash of ``seed`` and their name, so
    the draw depends on neither the machine nor the order of the data. An image that looks like one of ``held_out``
    or like one already drawn is passed over. Pass the data of all folds: look-alikes are sought in what is there.

    Raises ``CalibrationError`` where a fold is held out, the data have too few images or one cannot be decoded.
    """
    where = f"calibration set `{name}`"
    if size < 1:
        raise CalibrationError(f"{where}: expected a size of 1 or more, found {size}")
    leaks = set(folds) & set(held_out)
    if leaks:
        raise CalibrationError(f"{where}: fold {fold_range(leaks)} is held out for judging, draw from others")
    strata = _strata(data, folds, seed)
    _, held = fold_thumbnails(data, held_out, progress)
    chosen, known = _without_look_alikes(data, strata, size, held, where)
    of = {picture: stratum for stratum, names in strata.items() for picture in names}
    files = tuple(CalibrationFile(picture, known[picture].sha256, of[picture]) for picture in chosen)
    how = _how(size, seed, folds, held_out)
    return CalibrationSet(name, source, licence, tuple(sorted(folds)), seed, size, how, files)


def _strata(data: Sequence[FaceSet], folds: Collection[int], seed: int) -> dict[str, list[str]]:
    """Names of every stratum's images; both strata and names (without folders) in the order of seeded hashes."""
    faces = list({face.name: face for part in data for face in in_folds(part.faces, folds)}.values())
    strata: dict[str, list[str]] = defaultdict(list)
    for face, stratum in zip(faces, strata_of(faces)):
        if stratum is not None:
            strata[stratum].append(face.name)

    def lot(text: str) -> bytes:
        return hashlib.sha256(f"{seed} {text.rpartition('/')[2]}".encode()).digest()

    return {stratum: sorted(strata[stratum], key=lot) for stratum in sorted(strata, key=lot)}


def _without_look_alikes(
    data: Sequence[FaceSet], strata: Mapping[str, Sequence[str]], size: int, held: NDArray[np.float32], where: str
) -> tuple[list[str], dict[str, _Drawn]]:
    """Draw, drop look-alikes, draw again without them, until nothing is left to drop."""
    known: dict[str, _Drawn] = {}
    dropped: set[str] = set()
    while True:
        chosen = _take_turns([[name for name in names if name not in dropped] for names in strata.values()], size)
        if len(chosen) < size:
            left_out = f" (look-alikes left out: {len(dropped)})" if dropped else ""
            raise CalibrationError(
                f"{where}: expected {size} images, the data have {len(chosen)} usable images in its folds{left_out}"
            )
        known |= _look_at(data, [name for name in chosen if name not in known], where)
        look_alikes = _look_alikes(chosen, known, held)
        if not look_alikes:
            return chosen, known
        dropped |= look_alikes


def _take_turns(queues: Sequence[Sequence[str]], size: int) -> list[str]:
    """The first ``size`` of: every queue's first, every queue's second, …"""
    rounds = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)][:size]


def _look_at(data: Sequence[FaceSet], names: Sequence[str], where: str) -> dict[str, _Drawn]:
    read = {face.name: raw for face, raw in pictures(only(data, set(names)))}
    vectors = thumbnails(list(read.items()), where)
    return {name: _Drawn(hashlib.sha256(raw).hexdigest(), vectors[row]) for row, (name, raw) in enumerate(read.items())}


def _look_alikes(chosen: Sequence[str], known: Mapping[str, _Drawn], held: NDArray[np.float32]) -> set[str]:
    """Those of ``chosen`` that look like a held-out image or like one chosen before them."""
    vectors = np.stack([known[name].thumbnail for name in chosen])
    close = nearest(vectors, held)[0] <= LOOK_ALIKE_LEVELS
    for row in range(1, len(chosen)):
        close[row] |= nearest(vectors[row : row + 1], vectors[:row])[0][0] <= LOOK_ALIKE_LEVELS
    return {name for name, drop in zip(chosen, close.tolist()) if drop}


def _how(size: int, seed: int, folds: Collection[int], held_out: Collection[int]) -> str:
    return (
        f"edgeface calibration make --size {size} --seed {seed} --folds {fold_range(folds).replace(' ', '')}: "
        "age band x gender x race strata take turns, images by sha256 of seed and name; "
        f"without look-alikes (8x8 thumbnails at most {LOOK_ALIKE_LEVELS:g} grey levels apart) of each other and of "
        f"folds {fold_range(held_out)}"
    )
