"""Made-up labelled images in UTKFace's naming: every one different, in the fold and stratum that a test needs."""

from __future__ import annotations

from functools import cache
from itertools import count
from pathlib import Path

import numpy as np

from edgeface.evaluation.datasets import fold_of
from edgeface.types import Image
from tests.fixtures import write_picture


@cache
def stamp(fold: int, number: int) -> str:
    """The date&time of the ``number``-th person of a fold."""
    start = int(stamp(fold, number - 1)) + 1 if number else 10**8
    return next(text for text in map(str, count(start)) if fold_of(text) == fold)


def pattern(seed: int, side: int = 48) -> Image:
    """An image that looks like no other: uint8 ``[side, side, 3]`` of 8×8 random patches, in a face's pale colours."""
    random = np.random.default_rng(seed)
    patches = (random.integers(20, 236, (8, 8, 1)) + random.integers(-20, 21, (8, 8, 3))).astype(np.uint8)
    return np.kron(patches, np.ones((side // 8, side // 8, 1), np.uint8))


def add_person(
    folder: Path, labels: tuple[int, int, int], fold: int, number: int, pixels: Image | None = None, suffix: str = "png"
) -> str:
    """Write a person's image and return its name. ``labels``: age, gender, race."""
    name = f"{'_'.join(map(str, labels))}_{stamp(fold, number)}.{suffix}"
    seed = (number * 10 + fold) * 1000 + labels[0] * 10 + labels[1] * 5 + labels[2]
    write_picture(folder / name, pattern(seed) if pixels is None else pixels)
    return name


def add_crowd(folder: Path) -> Path:
    """48 people: of fold 3 twelve young white men, eight old black women, two Asian girls and a boy; others held out
    or of fold 4, where ten young white men live."""
    for number in range(12):
        add_person(folder, (25, 0, 0), 3, number)
    for number in range(8):
        add_person(folder, (72, 1, 1), 3, number)
    for number in range(2):
        add_person(folder, (5, 1, 2), 3, number)
    add_person(folder, (4, 0, 3), 3, 0)
    for number in range(10):
        add_person(folder, (29, 0, 0), 4, number)
    for fold in (0, 1, 2):
        for number in range(5):
            add_person(folder, (25, 0, 0), fold, number)
    return folder
