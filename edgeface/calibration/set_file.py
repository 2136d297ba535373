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
from edgeface.common.toml_file import from_table, read_toml
from edgeface.errors import CalibrationError

_SHA256 = re.compile("[0-9a-f]{64}")
_HEADER = """\
# A calibration set: the images whose activations give an int8 network its ranges. It lists them and holds none.
# Verify: edgeface calibration check THIS-FILE --data DATA
"""
_HINT = "make one with: edgeface calibration make"


@dataclass(frozen=True)
class CalibrationFile:
    """An image: its name in the data set, hex sha256 of its bytes, stratum as in "male White 20-29"."""

    name: str
    sha256: str
    stratum: str


@dataclass(frozen=True)
class _Contents:
    """Keys of the file, in their order."""

    name: str
    source: str
    licence: str
    how: str
    folds: tuple[int, ...]
    seed: int
    size: int
    digest: str
    files: tuple[CalibrationFile, ...]


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
    raw = from_table(_Contents, read_toml(path, "calibration set", _HINT), where, CalibrationError, hint=_HINT)
    if not all(0 <= fold <= 9 for fold in raw.folds):
        raise CalibrationError(f"{where}: `folds`: expected a list of 0 to 9, found {list(raw.folds)}")
    digests = {f"`files`, entry {number}: `sha256`": file.sha256 for number, file in enumerate(raw.files, 1)}
    for key, digest in {"`digest`": raw.digest, **digests}.items():
        if not _SHA256.fullmatch(digest):
            raise CalibrationError(f"{where}: {key}: expected 64 hex digits, found `{digest}`")
    return CalibrationSet(
        raw.name, raw.source, raw.licence, raw.folds, raw.seed, raw.size, raw.how, raw.files, stated_digest=raw.digest
    )


def write_set(calibration: CalibrationSet, path: str | os.PathLike[str]) -> None:
    """Write the set as TOML, the same bytes for the same set, whole or not at all. Raises ``SinkError``."""
    values = {**dataclasses.asdict(calibration), "digest": calibration.digest}
    head = [
        f"{key} = {_toml(values[key])}"
        for key in (entry.name for entry in dataclasses.fields(_Contents))
        if key != "files"
    ]
    files = [f"  {{ {_pairs(dataclasses.asdict(file))} }}," for file in calibration.files]
    text = "\n".join([*head, "files = [", *files, "]", ""])
    with atomic_path(path) as temporary:
        temporary.write_bytes((_HEADER + text).encode())


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {_toml(value)}" for key, value in values.items())


def _toml(value: Any) -> str:
    """A text, whole number or list of them as TOML writes it: as JSON does, but for DEL, which must be escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
