"""A calibration set as a file: which images, by name and content, from where, how drawn; never the images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeface.common.files import atomic_path
from edgeface.common.toml_file import read_toml, unknown_key
from edgeface.errors import CalibrationError

_SHA256 = re.compile("[0-9a-f]{64}")
_TYPES: Mapping[str, type] = {
    "name": str,
    "source": str,
    "licence": str,
    "how": str,
    "folds": list,
    "seed": int,
    "size": int,
    "digest": str,
    "files": list,
}
"""Keys of the file and what they hold; also their order in it."""
_HEADER = """\
# A calibration set: the images whose activations give an int8 network its ranges. It lists them and holds none.
# Verify: edgeface calibration check THIS-FILE --data DATA
"""


@dataclass(frozen=True)
class CalibrationFile:
    """An image: its name in the data set, hex sha256 of its bytes, stratum as in "male White 20-29"."""

    name: str
    sha256: str
    stratum: str


@dataclass(frozen=True)
class CalibrationSet:
    """The images of ``files``, in an order whose every beginning is a fair sample of the whole.

    ``folds`` are those it was drawn from, ``how`` says it in words. ``stated_digest`` is the hash that a file carried;
    it differs from ``digest`` where someone edited the list.
    """

    name: str
    source: str
    licence: str
    folds: tuple[int, ...]
    seed: int
    size: int
    how: str
    files: tuple[CalibrationFile, ...]
    stated_digest: str = field(default="", compare=False)

    @property
    def digest(self) -> str:
        """Hex sha256 of the sorted "name sha256" lines: the identity of the set, whatever its order and its words."""
        lines = sorted(f"{file.name} {file.sha256}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_set(path: str | os.PathLike[str]) -> CalibrationSet:
    """The set of a TOML file as ``write_set`` writes it; ``check_set`` judges its content.

    Raises ``ConfigError`` where the file cannot be read as TOML, ``CalibrationError`` where it is no calibration set.
    """
    where = f"calibration set `{path}`"
    raw = read_toml(path, "calibration set")
    _check_keys(raw, _TYPES, where)
    folds = raw["folds"]
    if not all(type(fold) is int and 0 <= fold <= 9 for fold in folds):
        raise CalibrationError(f"{where}: key `folds`: expected a list of 0 to 9, found {folds}")
    files = tuple(_file(item, f"{where}: file {number}") for number, item in enumerate(raw.pop("files"), 1))
    digest = raw.pop("digest")
    if not _SHA256.fullmatch(digest):
        raise CalibrationError(f"{where}: key `digest`: expected 64 hex digits, found `{digest}`")
    return CalibrationSet(**{**raw, "folds": tuple(folds)}, files=files, stated_digest=digest)


def write_set(calibration: CalibrationSet, path: str | os.PathLike[str]) -> None:
    """Write the set as TOML, the same bytes for the same set, whole or not at all. Raises ``SinkError``."""
    values = {**dataclasses.asdict(calibration), "digest": calibration.digest}
    head = [f"{key} = {_toml(values[key])}" for key in _TYPES if key != "files"]
    files = [f"  {{ {_pairs(dataclasses.asdict(file))} }}," for file in calibration.files]
    text = "\n".join([*head, "files = [", *files, "]", ""])
    with atomic_path(path) as temporary:
        temporary.write_bytes((_HEADER + text).encode())


def _file(item: Any, where: str) -> CalibrationFile:
    if not isinstance(item, dict):
        raise CalibrationError(f"{where}: expected a table with name, sha256 and stratum, found {item!r}")
    _check_keys(item, {entry.name: str for entry in dataclasses.fields(CalibrationFile)}, where)
    if not _SHA256.fullmatch(item["sha256"]):
        raise CalibrationError(f"{where}: key `sha256`: expected 64 hex digits, found `{item['sha256']}`")
    return CalibrationFile(**item)


def _check_keys(table: Mapping[str, Any], types: Mapping[str, type], where: str) -> None:
    for key in table:
        if key not in types:
            raise CalibrationError(f"{where}: {unknown_key(key, types)}")
    for key, wanted in types.items():
        if key not in table:
            raise CalibrationError(f"{where} lacks the key `{key}`; make it with: edgeface calibration make")
        if type(table[key]) is not wanted:
            raise CalibrationError(f"{where}: key `{key}`: expected {wanted.__name__}, found {table[key]!r}")


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {_toml(value)}" for key, value in values.items())


def _toml(value: Any) -> str:
    """A text, whole number or list of them as TOML writes it: as JSON does, but for DEL, which must be escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
