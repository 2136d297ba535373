"""The specs inside model files: in an ONNX file's metadata (read without the onnx package), in an engine's passport."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from edgeface.common.files import ENGINE_SUFFIX
from edgeface.common.json_text import json_object
from edgeface.errors import ArtifactError, SpecError
from edgeface.spec.model import DETECTOR_KEY, MODEL_KEY, DetectorSpec, ModelSpec

_METADATA_PROPS = 14  # field number in onnx.proto's ModelProto
_WIRE_VARINT, _WIRE_64, _WIRE_BYTES, _WIRE_32 = 0, 1, 2, 5


def passport_path(engine: str | os.PathLike[str]) -> Path:
    """Where an engine's passport lies: beside it, ``NAME.passport.json``."""
    return Path(f"{os.fspath(engine)}.passport.json")


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What a model file says of itself: an ONNX file inside, an engine in its passport. Raises ``ArtifactError``."""
    if Path(path).suffix.lower() != ENGINE_SUFFIX:
        return onnx_metadata(path)
    where = passport_path(path)
    try:
        return {str(key): str(value) for key, value in json_object(where.read_bytes())["metadata"].items()}
    except OSError as error:
        raise ArtifactError(f"cannot read passport `{where}` of engine `{path}`: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"`{where}` is no passport, build the engine again") from error


def onnx_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The ``metadata_props`` of an ONNX file. Raises ``ArtifactError`` where it is missing or not an ONNX file."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ArtifactError(f"`{path}` is empty, expected an ONNX model")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return dict(_entry(data[start:end]) for start, end in _fields(data, _METADATA_PROPS))
    except OSError as error:
        raise ArtifactError(f"cannot read model `{path}`: {error.strerror or error}") from error
    except (IndexError, UnicodeDecodeError, _Malformed) as error:
        raise ArtifactError(f"`{path}` is not an ONNX model or is damaged; copy or export it again") from error


def model_spec(path: str | os.PathLike[str]) -> ModelSpec:
    """The ``ModelSpec`` inside an attribute network's ONNX file. Raises ``SpecError`` or ``ArtifactError``."""
    found = metadata(path)
    if MODEL_KEY not in found:
        is_detector = DETECTOR_KEY in found
        hint = "it is a face detector, not an attribute network" if is_detector else "make it with: edgeface export"
        raise SpecError(f"`{path}` has no `{MODEL_KEY}` in its metadata, so nothing says how to feed it; {hint}")
    return ModelSpec.from_json(found[MODEL_KEY], f"`{path}`")


def detector_spec(path: str | os.PathLike[str]) -> DetectorSpec | None:
    """The ``DetectorSpec`` inside a detector's ONNX file, or ``None`` in a file of someone else's."""
    found = metadata(path)
    return DetectorSpec.from_json(found[DETECTOR_KEY], f"`{path}`") if DETECTOR_KEY in found else None


class _Malformed(Exception):
    """The bytes are not the protobuf message they should be."""


def _varint(data: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise _Malformed


def _fields(data: mmap.mmap | bytes, wanted: int) -> Iterator[tuple[int, int]]:
    """Start and end of every length-delimited field ``wanted`` of a protobuf message; the others are stepped over."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        length = 0
        if wire == _WIRE_VARINT:
            _, at = _varint(data, at)
        elif wire == _WIRE_BYTES:
            length, at = _varint(data, at)
        elif wire in (_WIRE_64, _WIRE_32):
            length = 8 if wire == _WIRE_64 else 4
        else:
            raise _Malformed
        if number == 0 or at + length > len(data):
            raise _Malformed
        if wire == _WIRE_BYTES and number == wanted:
            yield at, at + length
        at += length


def _entry(data: bytes) -> tuple[str, str]:
    """Key and value of a ``StringStringEntryProto``."""
    parts = [next((data[start:end] for start, end in _fields(data, number)), b"") for number in (1, 2)]
    return parts[0].decode(), parts[1].decode()
