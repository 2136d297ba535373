"""Labelled pictures on disk: UTKFace (labels in the file names) and FairFace (a label file), from folders and zips.

Zips are read in place. Folds are the project's fixed split and depend on names alone, so anybody's copy falls into
the same ones: folds 0 and 1 test, fold 2 validates, folds 3…9 train.
UTKFace: Zhang, Song, Qi, "Age progression/regression by conditional adversarial autoencoder", CVPR 2017.
FairFace: Kärkkäinen, Joo, "FairFace: face attribute dataset for balanced race, gender, and age", WACV 2021.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from edgeface.errors import DataError
from edgeface.spec import GENDERS, RACES

Folds = Collection[int] | None
"""Folds to keep, each 0…9; ``None`` keeps all."""
Paths = Sequence[str | os.PathLike[str]]

N_FOLDS = 10
MAX_AGE = 120
"""Ages above this are taken for a mistake; it also closes FairFace's open interval."""
AGE_INTERVALS = ((0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, MAX_AGE))
"""FairFace's age classes in completed years, both ends included."""
FAIRFACE_RACES = {
    "White": RACES.index("White"),
    "Black": RACES.index("Black"),
    "Indian": RACES.index("Indian"),
    "East Asian": RACES.index("Asian"),
    "Southeast Asian": RACES.index("Asian"),
    "Latino_Hispanic": RACES.index("Others"),
    "Middle Eastern": RACES.index("Others"),
}
"""FairFace's seven classes as indices into ``RACES``."""

_FAIRFACE_AGES = {f"{low}-{high}" if high < MAX_AGE else f"{low}+": (low, high) for low, high in AGE_INTERVALS}
_FAIRFACE_AGES["more than 70"] = AGE_INTERVALS[-1]  # how FairFace's own label files spell 70+
_FAIRFACE_GENDERS = {name.capitalize(): index for index, name in enumerate(GENDERS)}
_FAIRFACE_COLUMNS = ("file", "age", "gender", "race")
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Sample:
    """The labels of one picture; ``None`` where the data set does not state one.

    ``name`` is the path inside its folder or zip; ``age`` in years; ``age_interval`` in completed years, both ends
    included; ``gender`` and ``race`` index ``GENDERS`` and ``RACES``; ``fold`` 0…9.
    """

    name: str
    age: float | None
    age_interval: tuple[int, int] | None
    gender: int | None
    race: int | None
    fold: int


class Skipped(NamedTuple):
    """A picture that is left out, and why."""

    name: str
    reason: str


class _File(NamedTuple):
    """Where a picture's bytes are: ``name`` inside the folder or zip ``container``."""

    container: Path
    name: str


class Dataset:
    """Samples and the bytes of their pictures, in a fixed order. May be pickled and read from threads and forks."""

    def __init__(self, samples: Sequence[Sample], files: Sequence[_File], skipped: Sequence[Skipped]) -> None:
        self.samples = tuple(samples)
        self.skipped = tuple(skipped)
        self._files = tuple(files)
        self._zips: dict[tuple[int, Path], zipfile.ZipFile] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_zips": {}}

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the zips; reading opens them again."""
        while self._zips:
            self._zips.popitem()[1].close()

    def read(self, index: int) -> bytes:
        """The encoded picture of ``samples[index]``. Raises ``DataError`` where it cannot be read."""
        container, name = self._files[index]
        try:
            if container.is_dir():
                return (container / name).read_bytes()
            key = (os.getpid(), container)  # a fork shares its parent's file position, so it opens its own
            if key not in self._zips:
                self._zips[key] = zipfile.ZipFile(container)
            return self._zips[key].read(name)
        except (OSError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"cannot read `{name}` of `{container}`: {error}") from error

    def take(self, limit: int) -> Dataset:
        """At most ``limit`` samples, spread evenly over the order so that they stay a fair picture of the whole."""
        count = min(limit, len(self))
        rows = [row * len(self) // count for row in range(count)]
        return Dataset([self.samples[row] for row in rows], [self._files[row] for row in rows], self.skipped)


def open_utkface(paths: Paths, folds: Folds = None) -> Dataset:
    """The UTKFace-named pictures ``[age]_[gender]_[race]_[date&time].…`` of folders and zips, or of folders of zips.

    Malformed names are listed in ``skipped``. Raises ``DataError`` where nothing is there, or nothing of ``folds``.
    """
    samples, files, skipped = [], [], []
    for file in _pictures(paths):
        found = _utkface_sample(file.name)
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            samples.append(found)
            files.append(file)
    if not samples:
        raise DataError(
            f"no UTKFace name in {_named(paths)}: expected [age]_[gender]_[race]_[date&time].jpg, "
            f"found {_examples(item.name for item in skipped)}; pictures with a label file need --labels"
        )
    return _of_folds(samples, files, skipped, paths, folds)


def open_fairface(paths: Paths, labels: str | os.PathLike[str], folds: Folds = None) -> Dataset:
    """The pictures of folders and zips that ``labels`` lists: CSV with the columns file, age, gender, race.

    A row belongs to the picture whose path ends in its ``file``, endings aside. Pictures without a row are listed in
    ``skipped``; rows without a picture are none of this data's. Raises ``DataError`` as ``open_utkface`` does, and
    where ``labels`` lacks a column or states an unknown label.
    """
    rows = _fairface_labels(Path(labels))
    samples, files, skipped = [], [], []
    for file in _pictures(paths):
        key = next((key for key in _path_ends(file.name) if key in rows), None)
        if key is None:
            skipped.append(Skipped(file.name, f"it has no row in `{labels}`"))
        else:
            interval, gender, race = rows[key]
            samples.append(Sample(file.name, None, interval, gender, race, fold_of(key)))
            files.append(file)
    if not samples:
        raise DataError(
            f"no picture of {_named(paths)} has a row in `{labels}`: it lists {_examples(rows)}, "
            f"found {_examples(item.name for item in skipped)}"
        )
    return _of_folds(samples, files, skipped, paths, folds)


def fold_of(key: str) -> int:
    """The fold 0…9 of a picture by its key: UTKFace's date and time digits, FairFace's ``file`` without its ending."""
    return int(hashlib.sha1(key.encode()).hexdigest(), 16) % N_FOLDS


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


def age_interval_index(age: float) -> int:
    """The row of ``AGE_INTERVALS`` that an age in years falls into, by completed years."""
    return sum(age >= low for low, _ in AGE_INTERVALS[1:])


def _utkface_sample(name: str) -> Sample | Skipped:
    fields = PurePosixPath(name).name.split("_")
    if len(fields) != 4:
        return Skipped(name, f"expected age_gender_race_date&time, found {len(fields)} fields")
    age, gender, race = ((int(field) if re.fullmatch(r"\d{1,3}", field) else -1) for field in fields[:3])
    stamp = fields[3].partition(".")[0]  # whole, even where a name slips ("…657 .jpg"): the folds were made so
    if not 0 <= age <= MAX_AGE:
        return Skipped(name, f"age `{fields[0]}` is not 0…{MAX_AGE}")
    if not 0 <= gender < len(GENDERS):
        return Skipped(name, f"gender `{fields[1]}` is not 0 or 1")
    if not 0 <= race < len(RACES):
        return Skipped(name, f"race `{fields[2]}` is not 0…{len(RACES) - 1}")
    if not stamp[:1].isdigit():
        return Skipped(name, f"date and time `{fields[3]}` has no digits")
    return Sample(name, float(age), None, gender, race, fold_of(stamp))


def _fairface_labels(path: Path) -> dict[str, tuple[tuple[int, int], int, int]]:
    """Age interval, gender and race by ``file`` without its ending."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in _FAIRFACE_COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise DataError(f"labels `{path}`: column {', '.join(missing)} is missing, found {found}")
            return {
                _stem(row["file"]): (
                    _label(row, "age", _FAIRFACE_AGES, path, reader.line_num),
                    _label(row, "gender", _FAIRFACE_GENDERS, path, reader.line_num),
                    _label(row, "race", FAIRFACE_RACES, path, reader.line_num),
                )
                for row in reader
            }
    except OSError as error:
        raise DataError(f"cannot read labels `{path}`: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"labels `{path}` is not a CSV text file in UTF-8 ({error})") from error


def _label(row: dict[str, str | None], column: str, known: dict[str, Any], path: Path, line: int) -> Any:
    value = row[column]
    if value not in known:
        raise DataError(f"labels `{path}` line {line}: unknown {column} `{value}`, expected one of {', '.join(known)}")
    return known[value]


def _pictures(paths: Paths) -> Iterator[_File]:
    """Every picture of folders (searched deeply, with the zips in them) and zips, sorted by name within each."""
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file())
            yield from (_File(path, name) for name in inside if _is_picture(name))
            for name in inside:
                if name.lower().endswith(".zip"):
                    yield from _zipped(path / name)
        elif path.exists():
            yield from _zipped(path)
        else:
            raise DataError(f"no such data folder or zip: `{path}`")


def _zipped(path: Path) -> Iterator[_File]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield from (_File(path, name) for name in sorted(archive.namelist()) if _is_picture(name))
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read data `{path}`: expected a folder or a whole zip file ({error})") from error


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in _PICTURES and not path.name.startswith(".")  # "._…" files are macOS's shadows


def _of_folds(samples: list[Sample], files: list[_File], skipped: list[Skipped], paths: Paths, folds: Folds) -> Dataset:
    rows = [row for row, sample in enumerate(samples) if folds is None or sample.fold in folds]
    if not rows:
        there = ", ".join(map(str, sorted({sample.fold for sample in samples})))
        wanted = ", ".join(map(str, sorted(folds or ())))
        found = f"its {len(samples)} pictures are of fold {there}"
        raise DataError(f"no picture of fold {wanted} in {_named(paths)}: {found}")
    return Dataset([samples[row] for row in rows], [files[row] for row in rows], skipped)


def _stem(file: str | None) -> str:
    return str(PurePosixPath(file).with_suffix("")) if file else ""


def _path_ends(name: str) -> Iterator[str]:
    """``a/b/c.jpg`` → ``a/b/c``, ``b/c``, ``c``."""
    parts = PurePosixPath(name).with_suffix("").parts
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _named(paths: Paths) -> str:
    return ", ".join(f"`{os.fspath(path)}`" for path in paths)


def _examples(names: Iterable[str]) -> str:
    some = list(names)
    return f"{len(some)} such as `{some[0]}`" if some else "no pictures"
