"""Labelled face data sets: UTKFace-named folders or zips, and FairFace's folders or zips with their ``labels.csv``.

Only names and labels are read here, images are handed out as their files' bytes. A fold is a hash of the file's
name modulo 10, so everyone who owns a copy of the data gets the same split: folds 0 and 1 test, fold 2 validates,
folds 3 to 9 train.
UTKFace: Zhang, Song, Qi, "Age progression/regression by conditional adversarial autoencoder", CVPR 2017.
FairFace: Kärkkäinen, Joo, "FairFace: face attribute dataset for balanced race, gender, and age", WACV 2021.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from edgeface.common.archives import ArchiveFault, open_archive, read_entry
from edgeface.common.files import open_regular
from edgeface.errors import DataError
from edgeface.evaluation.metrics import AGE_BANDS
from edgeface.imaging.image_io import Unreadable, max_bytes
from edgeface.spec.model import GENDERS, RACES

FOLDS = 10
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_UTKFACE = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_(?P<stamp>\d[^.]*)\.")
_UTKFACE_FORM = "[age]_[gender]_[race]_[date&time]"
_MAX_AGE = 116
_FAIRFACE_AGES = {**{name: code for code, name in enumerate(AGE_BANDS)}, "more than 70": AGE_BANDS.index("70+")}
_FAIRFACE_GENDERS = {name.capitalize(): code for code, name in enumerate(GENDERS)}
_FAIRFACE_RACES = {
    "White": RACES.index("White"),
    "Black": RACES.index("Black"),
    "Indian": RACES.index("Indian"),
    "East Asian": RACES.index("Asian"),
    "Southeast Asian": RACES.index("Asian"),
    "Latino_Hispanic": RACES.index("Others"),
    "Middle Eastern": RACES.index("Others"),
}
"""FairFace's seven classes in UTKFace's five."""
_FAIRFACE_COLUMNS: Mapping[str, Mapping[str, int]] = {
    "age": _FAIRFACE_AGES,
    "gender": _FAIRFACE_GENDERS,
    "race": _FAIRFACE_RACES,
}


@dataclass(frozen=True)
class LabelledFace:
    """One image's name inside its data set and its labels: ``age`` in years or NaN, class indices or -1."""

    name: str
    fold: int
    age: float = math.nan
    interval: int = -1
    gender: int = -1
    race: int = -1


@dataclass(frozen=True)
class FaceSet:
    """The labelled images of one folder or zip, and those that had to be skipped, each as "name (reason)"."""

    path: Path
    faces: tuple[LabelledFace, ...]
    skipped: tuple[str, ...]

    def read(self, names: Iterable[str]) -> Iterator[bytes]:
        """The files' bytes, in the order of ``names``; ``Unreadable`` ones where one cannot be read.

        Raises ``DataError`` where the zip cannot be opened.
        """
        if self.path.is_dir():
            for name in names:
                yield _file_bytes(self.path, name)
            return
        try:
            with open_archive(self.path) as archive:
                for name in names:
                    yield _entry_bytes(archive, name)
        except ArchiveFault as error:
            raise DataError(f"cannot read an image of `{self.path}`: {error}") from error


def find_faces(
    paths: Sequence[str | os.PathLike[str]],
    labels: str | os.PathLike[str] | None = None,
    folds: Collection[int] | None = None,
) -> tuple[FaceSet, ...]:
    """The labelled images of folders and zips, each folder with the zips in it; those of ``folds`` (``None``: all).

    Each set is sorted by name. Without ``labels`` the names must be UTKFace's, ``[age]_[gender]_[race]_[date&time].…``;
    with it they are those of a FairFace ``labels.csv`` (``file,age,gender,race``).
    Sets without a face of these folds are left out, unless they skipped some. Raises ``DataError`` without any face.
    """
    rows = None if labels is None else _read_rows(Path(labels))
    found = [_face_set(place, labels, rows) for path in paths for place in _places(Path(path))]
    named = ", ".join(f"`{os.fspath(path)}`" for path in paths)
    count = sum(len(item.faces) for item in found)
    if not count:
        raise DataError(_nothing_found(named, [name for item in found for name in item.skipped], labels))
    kept = [replace(item, faces=in_folds(item.faces, range(FOLDS) if folds is None else folds)) for item in found]
    if not any(item.faces for item in kept):
        there = ", ".join(map(str, sorted({face.fold for item in found for face in item.faces})))
        wanted = ", ".join(map(str, sorted(folds or ())))
        raise DataError(f"no image of fold {wanted} in {named}: its {count} labelled images are of fold {there}")
    return tuple(item for item in kept if item.faces or item.skipped)


def in_folds(faces: Sequence[LabelledFace], folds: Iterable[int]) -> tuple[LabelledFace, ...]:
    """Those of ``faces`` whose fold is one of ``folds``."""
    wanted = frozenset(folds)
    return tuple(face for face in faces if face.fold in wanted)


def fold_of(key: str) -> int:
    """``int(sha1(key).hexdigest(), 16) % 10``.

    UTKFace's key is its date&time (all before the first dot), FairFace's its ``file`` without the ending (``train/1``).
    """
    return int(hashlib.sha1(key.encode(errors="surrogateescape")).hexdigest(), 16) % FOLDS


def parse_folds(text: str) -> frozenset[int] | None:
    """Folds as people write them: "1", "0,1", "2-9", "0,3-5", or "all" (``None``). Raises ``DataError``."""
    if text.strip().lower() == "all":
        return None
    folds: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d)(?:\s*-\s*(\d))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise DataError(f"folds `{text}`: expected 0 to 9 as in 1 or 0,1 or 2-9, or all; found `{part.strip()}`")
        folds.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(folds)


def _places(path: Path) -> list[Path]:
    """A folder and the zips in it, or the zip itself."""
    return [path, *sorted(path.glob("*.zip"))] if path.is_dir() else [path]


def _face_set(
    path: Path, labels: str | os.PathLike[str] | None, rows: Mapping[str, tuple[int, int, int]] | None
) -> FaceSet:
    names = _picture_names(path)
    faces, skipped = _utkface(names) if rows is None else _fairface(names, rows, f"no row in {labels}")
    return FaceSet(path, tuple(faces), tuple(skipped))


def _nothing_found(named: str, skipped: Sequence[str], labels: str | os.PathLike[str] | None) -> str:
    found = f"{len(skipped)} such as `{skipped[0]}`" if skipped else "no images"
    if labels is not None:
        return f"no image of {named} has a row in `{labels}`: found {found}"
    hint = "data in FairFace's form need --labels labels.csv"
    return f"no UTKFace name {_UTKFACE_FORM} in {named}: found {found}; {hint}"


def _picture_names(path: Path) -> list[str]:
    """Names of all images below a folder or inside a zip, sorted; without hidden ones, macOS's shadows among them."""
    try:
        if path.is_dir():
            names = [entry.relative_to(path).as_posix() for entry in path.rglob("*")]
        else:
            with open_archive(path) as archive:
                names = archive.namelist()
    except (OSError, ArchiveFault) as error:
        if getattr(error, "missing", False):
            raise DataError(f"no data at `{path}`: expected a folder or a zip of labelled faces") from error
        raise DataError(f"cannot read `{path}`: expected a folder or a zip of labelled faces ({error})") from error
    return sorted(name for name in names if name.lower().endswith(_SUFFIXES) and "/." not in f"/{name}")


def _file_bytes(folder: Path, name: str) -> bytes:
    try:
        with open_regular(folder / name) as file:
            return file.read(max_bytes() + 1)
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "not enough memory"
        return Unreadable(f"cannot read image `{name}`: {reason}")


def _entry_bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return read_entry(archive, name, max_bytes())
    except ArchiveFault as error:
        return Unreadable(f"cannot read image `{name}`: {error}")


def _utkface(names: Iterable[str]) -> tuple[list[LabelledFace], list[str]]:
    faces, skipped = [], []
    for name in names:
        match = _UTKFACE.match(name.rsplit("/", 1)[-1])
        if match is None or int(match["age"]) > _MAX_AGE:
            skipped.append(f"{name} ({_utkface_fault(name.rsplit('/', 1)[-1])})")
            continue
        age, gender, race = (int(match[key]) for key in ("age", "gender", "race"))
        faces.append(LabelledFace(name, fold_of(match["stamp"]), age=float(age), gender=gender, race=race))
    return faces, skipped


def _utkface_fault(name: str) -> str:
    """What is wrong with a file name that is not UTKFace's."""
    fields = name.split("_")
    if len(fields) != 4:
        return f"{len(fields)} fields, expected {_UTKFACE_FORM}"
    age, gender, race, _ = fields
    if not re.fullmatch(r"\d{1,3}", age) or int(age) > _MAX_AGE:
        return f"age {age} is not 0 to {_MAX_AGE}"
    if gender not in ("0", "1"):
        return f"gender {gender} is not 0 or 1"
    return f"race {race} is not 0 to 4" if not re.fullmatch("[0-4]", race) else "no date and time"


def _fairface(
    names: Iterable[str], rows: Mapping[str, tuple[int, int, int]], fault: str
) -> tuple[list[LabelledFace], list[str]]:
    """Match images with rows by the end of their path, since a zip may have its own top folder."""
    faces, skipped = [], []
    for name in names:
        parts = PurePosixPath(name).with_suffix("").parts
        key = next((end for start in range(len(parts)) if (end := "/".join(parts[start:])) in rows), None)
        if key is None:
            skipped.append(f"{name} ({fault})")
            continue
        interval, gender, race = rows[key]
        faces.append(LabelledFace(name, fold_of(key), interval=interval, gender=gender, race=race))
    return faces, skipped


def _read_rows(labels: Path) -> dict[str, tuple[int, int, int]]:
    """``{file without its ending: (interval, gender, race)}`` of a FairFace ``labels.csv``."""
    try:
        with open(labels, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            missing = [column for column in ("file", *_FAIRFACE_COLUMNS) if column not in columns]
            if missing:
                raise DataError(
                    f"labels `{labels}` lack the column {', '.join(missing)}: expected file,age,gender,race, "
                    f"found {','.join(columns) or 'nothing'}"
                )
            return {_file_key(row): _codes(row, f"labels `{labels}` line {reader.line_num}") for row in reader}
    except OSError as error:
        raise DataError(f"cannot read labels `{labels}`: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"labels `{labels}` are not a CSV text file in UTF-8 ({error})") from error


def _file_key(row: Mapping[str, str | None]) -> str:
    return (row["file"] or "").rsplit(".", 1)[0]


def _codes(row: Mapping[str, str | None], where: str) -> tuple[int, int, int]:
    """Interval, gender and race of a row as class indices."""
    for column, known in _FAIRFACE_COLUMNS.items():
        if row[column] not in known:
            raise DataError(f"{where}: {column} `{row[column] or ''}` is not known, expected one of {', '.join(known)}")
    return tuple(known[row[column] or ""] for column, known in _FAIRFACE_COLUMNS.items())  # type: ignore[return-value]
