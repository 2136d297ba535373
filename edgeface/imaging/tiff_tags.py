"""Whole numbers in a TIFF's first directory (TIFF 6.0, BigTIFF), which is also how EXIF keeps an orientation."""

from __future__ import annotations

import struct

from edgeface.imaging.orientation import UPRIGHT

ORIENTATION = 274
_TIFF_LETTERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST_VALUES = 1 << 16


def exif_orientation(exif: bytes) -> int:
    """The orientation in EXIF's TIFF structure; 1 where it has none or an invalid one."""
    try:
        return valid(tiff_tags(exif).get(ORIENTATION, [UPRIGHT])[0])
    except (struct.error, IndexError, ValueError, OverflowError):
        return UPRIGHT


def tiff_tags(data: bytes) -> dict[int, list[int]]:
    """Whole numbers of the first directory of a TIFF (BigTIFF too), by tag."""
    order = {b"II": "<", b"MM": ">"}[data[:2]] if data[:2] in (b"II", b"MM") else ""
    if not order:
        raise ValueError("no TIFF")
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count, at = struct.unpack_from(order + ("Q" if big else "H"), data, at)[0], at + (8 if big else 2)
    step, inline = (20, 8) if big else (12, 4)
    tags: dict[int, list[int]] = {}
    for entry in range(at, at + step * min(count, 4096), step):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        amount = struct.unpack_from(order + ("Q" if big else "I"), data, entry + 4)[0]
        letter = _TIFF_LETTERS.get(kind)
        if letter is None or not 0 < amount <= _MOST_VALUES:
            continue
        place = entry + (12 if big else 8)
        if amount * struct.calcsize(order + letter) > inline:
            place = struct.unpack_from(order + ("Q" if big else "I"), data, place)[0]
        tags[tag] = list(struct.unpack_from(f"{order}{amount}{letter}", data, place))
    return tags


def valid(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else UPRIGHT
