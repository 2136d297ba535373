"""Images that say how they are turned, in each format's own way, and how they are then shown."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from edgeface.imaging.image_header import boxes, read_header
from edgeface.types import Image

_TAG = 274
HEIF = {1: (0, None), 2: (0, 1), 3: (2, None), 4: (0, 0), 5: (1, 0), 6: (3, None), 7: (3, 0), 8: (1, None)}
"""EXIF's orientations as ``irot``'s counter-clockwise quarters and ``imir``'s axis (libavif's table)."""


def shown(stored: Image, orientation: int) -> Image:
    """By the words of TIFF 6.0: where the stored image's first row and first column are shown."""
    first_row, first_column = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    pixels = stored if first_row in ("top", "bottom") else np.swapaxes(stored, 0, 1)
    pixels = pixels[::-1] if "bottom" in (first_row, first_column) else pixels
    return pixels[:, ::-1] if "right" in (first_row, first_column) else pixels


def oriented(data: bytes, orientation: int) -> bytes:
    """The same JPEG, PNG, WebP, TIFF or AVIF with an orientation."""
    tiff = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", _TAG, 3, 1, orientation, 0) + bytes(4)
    if data.startswith(b"\x89PNG"):
        chunk = struct.pack(">I", len(tiff)) + b"eXIf" + tiff + struct.pack(">I", zlib.crc32(b"eXIf" + tiff))
        return data[:33] + chunk + data[33:]
    if data.startswith(b"RIFF"):
        return _webp(data, tiff)
    if data.startswith(b"II*"):
        return _tiff(data, orientation)
    if data[4:8] == b"ftyp":
        return _avif(data, *HEIF[orientation])
    body = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def _webp(data: bytes, exif: bytes) -> bytes:
    """WebP in the extended form, which alone may hold EXIF."""
    header = read_header(data)
    assert header is not None and header.size is not None
    width, height = header.size
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<IB3x", 10, 0x08) + sides + data[12:]
    body += b"EXIF" + struct.pack("<I", len(exif)) + exif
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(data: bytes, orientation: int) -> bytes:
    """A new directory at the end, with one entry more."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    entries = [data[at + 2 + 12 * number :][:12] for number in range(count)]
    entries = [entry for entry in entries if struct.unpack_from("<H", entry)[0] != _TAG]
    entries.append(struct.pack("<HHIHH", _TAG, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    padded = data + bytes(len(data) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return padded[:4] + struct.pack("<I", len(padded)) + padded[8:] + directory


def _avif(data: bytes, quarters: int, axis: int | None) -> bytes:
    """``irot`` and ``imir`` after the other properties, associated with the first item."""
    more = b"" if not quarters else struct.pack(">I4sB", 9, b"irot", quarters)
    more += b"" if axis is None else struct.pack(">I4sB", 9, b"imir", axis)
    if not more:
        return data
    found = [(path, start, end) for path, start, end in boxes(data)]
    known = sum(path[:-1] == (b"meta", b"iprp", b"ipco") for path, _, _ in found)
    places = {path[-1]: (start, end) for path, start, end in found}
    new = range(known + 1, known + 1 + bool(quarters) + (axis is not None))
    out = bytearray(data)
    ipma = places[b"ipma"][0] + 8  # of version 0: after flags and the count come an item and its properties' count
    added = bytes(0x80 | place for place in new)
    grown = {b"ipma": len(added), b"ipco": len(more), b"iprp": len(added + more), b"meta": len(added + more)}
    for name, length in grown.items():
        at = places[name][0] - 8
        struct.pack_into(">I", out, at, struct.unpack_from(">I", out, at)[0] + length)
    iloc = places[b"iloc"][0] + 14  # where the first item's data begins
    struct.pack_into(">I", out, iloc, struct.unpack_from(">I", out, iloc)[0] + len(added + more))
    last = ipma + 3 + data[ipma + 2]
    out[ipma + 2] += len(added)
    out[last:last] = added
    out[places[b"ipco"][1] : places[b"ipco"][1]] = more
    return bytes(out)
