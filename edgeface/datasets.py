"""Labelled face data sets: UTKFace-named folders or zips, and FairFace's folders or zips with their ``labels.csv``.

Only names and labels are read here, pictures are handed out as their files' bytes. A fold is a hash of the file's
name modulo 10, so everyone who owns a copy of the data gets the same split.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeface.errors import DataError
from edgeface.metrics import AGE_BANDS
from edgeface.spec import GENDERS, RACES

FOLDS = 10
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_UTKFACE = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_(?P<stamp>\d[^.]*)\.")
_MAX_AGE = 116
_FAIRFACE_AGES = {**{name: code for code, name in enumerate(AGE_BANDS)}, "more than 70": AGE_BANDS.index("70+")}
_FAIRFACE_RACES = {
    "White": "White",
    "Black": "Black",
    "Indian": "Indian",
    "East Asian": "Asian",
    "Southeast Asian": "Asian",
    "Latino_Hispanic": "Others",
    "Middle Eastern": "Others",
}
"""FairFace's seven classes in UTKFace's five."""


@dataclass(frozen=True)
class LabelledFace:
    """One picture's name inside its data set and its labels: ``age`` in years or NaN, class indices or -1."""

    name: str
    fold: int
    age: float = math.nan
    interval: int = -1
    gender: int = -1
    race: int = -1


@dataclass(frozen=True)
class FaceSet:
    """The labelled pictures of one folder or zip, and the names that had to be skipped because they are malformed."""

    path: Path
    faces: tuple[LabelledFace, ...]
    skipped: tuple[str, ...]

    def read(self, names: Iterable[str]) -> Iterable[bytes]:
        """The files' bytes, in the order of ``names``. Raises ``DataError`` where one cannot be read."""
        try:
            if self.path.is_dir():
                for name in names:
                    yield (self.path / name).read_bytes()
            else:
                with zipfile.ZipFile(self.path) as archive:
                    for name in names:
                        yield archive.read(name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"cannot read a picture of `{self.path}`: {error}") from error


def open_faces(path: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None) -> FaceSet:
    """The labelled pictures of a folder or zip, sorted by name.

    Without ``labels`` the names must be UTKFace's, ``[age]_[gender]_[race]_[date&time].…``; with it they are those of
    a FairFace ``labels.csv`` (``file,age,gender,race``). Raises ``DataError`` where nothing usable is found.
    """
    where = Path(path)
    names = _picture_names(where)
    if labels is None:
        faces, skipped = _utkface(names)
        hint = "names like `25_1_0_20170116.jpg`, or --labels labels.csv for data in FairFace's form"
    else:
        faces, skipped = _fairface(names, Path(labels))
        hint = f"pictures that `{labels}` lists"
    if not faces:
        raise DataError(f"no labelled picture in `{where}`: found {len(names)} picture(s), expected {hint}")
    return FaceSet(where, tuple(faces), tuple(skipped))


def in_folds(faces: Sequence[LabelledFace], folds: Iterable[int]) -> tuple[LabelledFace, ...]:
    """Those of ``faces`` whose fold is one of ``folds``."""
    wanted = frozenset(folds)
    return tuple(face for face in faces if face.fold in wanted)


def fold_of(key: str) -> int:
    """``int(sha1(key).hexdigest(), 16) % 10``.

    UTKFace's key is its date&time (all before the first dot), FairFace's its ``file`` without the ending (``train/1``).
    """
    return int(hashlib.sha1(key.encode()).hexdigest(), 16) % FOLDS


def _picture_names(path: Path) -> list[str]:
    """Names of all pictures below a folder or inside a zip, sorted."""
    try:
        if path.is_dir():
            names = [entry.relative_to(path).as_posix() for entry in path.rglob("*")]
        else:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
    except FileNotFoundError as error:
        raise DataError(f"no data at `{path}`: expected a folder or a zip of labelled faces") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read `{path}`: expected a folder or a zip of labelled faces ({error})") from error
    return sorted(name for name in names if name.lower().endswith(_SUFFIXES))


def _utkface(names: Iterable[str]) -> tuple[list[LabelledFace], list[str]]:
    faces, skipped = [], []
    for name in names:
        match = _UTKFACE.match(name.rsplit("/", 1)[-1])
        if match is None or int(match["age"]) > _MAX_AGE:
            skipped.append(name)
            continue
        age, gender, race = (int(match[key]) for key in ("age", "gender", "race"))
        faces.append(LabelledFace(name, fold_of(match["stamp"]), age=float(age), gender=gender, race=race))
    return faces, skipped


def _fairface(names: Iterable[str], labels: Path) -> tuple[list[LabelledFace], list[str]]:
    """Match pictures with rows by the end of their path, since a zip may have its own top folder."""
    rows = _read_rows(labels)
    faces, skipped = [], []
    for name in names:
        key = "/".join(name.split("/")[-2:]).rsplit(".", 1)[0]
        row = rows.get(key)
        if row is None:
            skipped.append(name)
            continue
        interval, gender, race = row
        faces.append(LabelledFace(name, fold_of(key), interval=interval, gender=gender, race=race))
    return faces, skipped


def _read_rows(labels: Path) -> dict[str, tuple[int, int, int]]:
    """``{file without its ending: (interval, gender, race)}`` of a FairFace ``labels.csv``."""
    try:
        with open(labels, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {
            row["file"].rsplit(".", 1)[0]: (
                _FAIRFACE_AGES[row["age"]],
                GENDERS.index(row["gender"].lower()),
                RACES.index(_FAIRFACE_RACES[row["race"]]),
            )
            for row in rows
        }
    except OSError as error:
        raise DataError(f"cannot read labels `{labels}`: {error.strerror or error}") from error
    except (KeyError, ValueError, AttributeError, TypeError, csv.Error) as error:
        raise DataError(
            f"labels `{labels}` are not in FairFace's form (columns file,age,gender,race): {error} is not known"
        ) from error
