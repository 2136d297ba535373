"""A tiny data set made of coloured chips, for the trainer's tests: red chips have a face, others are missed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgeface.evaluation.datasets import fold_of

_SIDE = 64


def make_people(folder: Path, count: int = 48, missed: int = 3) -> Path:
    """``count`` UTKFace-named chips over folds 2 … 9 and one malformed name; the first ``missed`` show no face."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    stamp, made = 20170101000000000, 0
    while made < count:
        stamp += 1
        if fold_of(str(stamp)) < 2:
            continue
        age, gender, race = int(random.integers(1, 90)), made % 2, made % 5
        name = f"{age}_{gender}_{race}_{stamp}.png"
        colour = (255, 0, 0) if made >= missed else (0, 0, 255)
        write_chip(folder / name, colour, shade=age)
        made += 1
    write_chip(folder / "39_1_20170116174525125.png", (255, 0, 0), 0)
    return folder


def make_fairface(folder: Path, count: int = 24) -> tuple[Path, Path]:
    """``count`` chips and their ``labels.csv`` in FairFace's form."""
    rows = ["file,age,gender,race"]
    ages, races = ("0-2", "20-29", "70+"), ("White", "Black", "East Asian", "Indian", "Middle Eastern")
    for number in range(count):
        write_chip(folder / "train" / f"{number}.png", (255, 0, 0), shade=number)
        rows.append(f"train/{number}.png,{ages[number % 3]},{'Female' if number % 2 else 'Male'},{races[number % 5]}")
    labels = folder / "labels.csv"
    labels.write_text("\n".join(rows) + "\n")
    return folder, labels


def write_chip(path: Path, rgb: tuple[int, int, int], shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((_SIDE, _SIDE, 3), rgb, np.uint8)
    pixels[-8:] = np.uint8(shade)
    cv2.imwrite(str(path), pixels[..., ::-1])
