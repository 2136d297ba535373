"""CSV manifests: any labelled images as a data set, with labels that may be unknown or, for ages, an interval.

``path,age,gender,race[,fold]``, one image a line; the columns after ``path`` may be missing or empty (unknown).
``path`` is relative to the manifest's folder and may lead into a zip (``faces.zip/a/1.jpg``). ``age`` is a number, an
interval (``20-29``) or open (``70+``); ``gender`` and ``race`` are a class's name or number. Without a ``fold`` column
an image's fold is ``datasets.fold_of(path without its ending)``.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeface.common.archives import ArchiveFault, open_archive
from edgeface.errors import DataError
from edgeface.evaluation.datasets import FOLDS, FaceSet, LabelledFace, fold_of
from edgeface.evaluation.metrics import AGE_INTERVALS
from edgeface.spec.model import GENDERS, RACES

COLUMNS = ("path", "age", "gender", "race", "fold")
_OLDEST = AGE_INTERVALS[-1][1]
_NUMBER = r"\d{1,3}(?:\.\d+)?"


@dataclass(frozen=True)
class IntervalFace(LabelledFace):
    """A face of which only ``low`` … ``high`` years are known, both included; ``interval`` where one holds them."""

    low: int = -1
    high: int = -1


def open_manifest(path: str | os.PathLike[str]) -> list[FaceSet]:
    """The labelled images of a manifest, one set for its folder and one for each zip that it names.

    Images that are not there are skipped by name. Raises ``DataError`` for a line that cannot be understood, naming
    it, and where no image is left.
    """
    path = Path(path)
    homes: dict[Path, list[tuple[str, LabelledFace]]] = {}
    for name, face in _rows(path):
        zipped = next((part for part in PurePosixPath(name).parents if part.suffix.lower() == ".zip"), None)
        home = path.parent if zipped is None else path.parent / zipped
        homes.setdefault(home, []).append((name, face))
    sets = [_face_set(home, faces) for home, faces in homes.items()]
    if not any(item.faces for item in sets):
        skipped = [name for item in sets for name in item.skipped]
        raise DataError(f"manifest `{path}`: no image found, {len(skipped)} missing such as {skipped[:1]}")
    return sets


def _face_set(home: Path, faces: Sequence[tuple[str, LabelledFace]]) -> FaceSet:
    """Those of ``faces`` that are in the folder or zip."""
    if home.suffix.lower() == ".zip":
        try:
            with open_archive(home) as archive:
                there = set(archive.namelist())
        except ArchiveFault as error:
            raise DataError(f"cannot read `{home}`: expected a zip of images ({error})") from error
        found = [(name, face, face.name in there) for name, face in faces]
    else:
        found = [(name, face, (home / face.name).is_file()) for name, face in faces]
    kept = tuple(sorted((face for _, face, is_there in found if is_there), key=lambda face: face.name))
    return FaceSet(home, kept, tuple(f"{name} (no such image)" for name, _, is_there in found if not is_there))


def _rows(path: Path) -> Iterator[tuple[str, LabelledFace]]:
    """Each line's path as written, and its face, named inside its folder or zip."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            if "path" not in columns or set(columns) - set(COLUMNS):
                raise DataError(
                    f"manifest `{path}`: expected the columns {','.join(COLUMNS)}, found {_listed(columns)}"
                )
            seen: set[str] = set()
            for row in reader:
                where = f"manifest `{path}` line {reader.line_num}"
                name = (row["path"] or "").strip()
                if not name or name in seen:
                    raise DataError(f"{where}: {f'`{name}` is listed twice' if name else 'the path is empty'}")
                seen.add(name)
                yield name, _face(name, row, where)
    except OSError as error:
        raise DataError(f"cannot read manifest `{path}`: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"manifest `{path}` is not a CSV text file in UTF-8 ({error})") from error


def _face(name: str, row: Mapping[str, str | None], where: str) -> LabelledFace:
    text = {column: (row.get(column) or "").strip() for column in COLUMNS}
    parts = PurePosixPath(name).parts
    inside = next((index + 1 for index, part in enumerate(parts[:-1]) if part.lower().endswith(".zip")), 0)
    fold = _class(text["fold"], [str(number) for number in range(FOLDS)], f"{where}: fold")
    age, low, high = _age(text["age"], where)
    return IntervalFace(
        name="/".join(parts[inside:]),
        fold=fold if fold >= 0 else fold_of(str(PurePosixPath(name).with_suffix(""))),
        age=age,
        interval=next((code for code, (a, b) in enumerate(AGE_INTERVALS) if a <= low and high <= b), -1),
        gender=_class(text["gender"], GENDERS, f"{where}: gender"),
        race=_class(text["race"], RACES, f"{where}: race"),
        low=low,
        high=high,
    )


def _age(text: str, where: str) -> tuple[float, int, int]:
    """Age in years or NaN, and the interval's first and last year or -1."""
    if not text:
        return math.nan, -1, -1
    if re.fullmatch(_NUMBER, text) and float(text) <= _OLDEST:
        return float(text), -1, -1
    match = re.fullmatch(r"(\d{1,3})\s*(?:\+|-\s*(\d{1,3}))", text)
    if match and int(match[1]) <= (high := int(match[2] or _OLDEST)) <= _OLDEST:
        return math.nan, int(match[1]), high
    raise DataError(f"{where}: age `{text}` is not 0 to {_OLDEST}, an interval as in 20-29, or open as in 70+")


def _class(text: str, names: Sequence[str], where: str) -> int:
    """Index of a class given by its name (any case) or number, -1 for an empty text."""
    lower = [name.lower() for name in names]
    if not text:
        return -1
    if text.lower() in lower:
        return lower.index(text.lower())
    if text.isdigit() and int(text) < len(names):
        return int(text)
    raise DataError(f"{where} `{text}` is not known, expected one of {', '.join(names)}")


def _listed(columns: Sequence[str]) -> str:
    return ",".join(columns) or "nothing"
