"""What an image file says before it is decoded: its format, size and depth, how it is turned, whether its end is there.

Every format that ``image_io`` reads is here, since a decoder allocates whatever a header claims: a file of a format
whose size cannot be known beforehand is not decoded. Nothing here trusts a length: a value outside the data is an end.

| format    | size                                    | orientation         | the end                        |
|-----------|-----------------------------------------|---------------------|--------------------------------|
| JPEG      | SOFn                                    | EXIF in APP1        | EOI                            |
| PNG       | the first IHDR                          | eXIf                | IEND                           |
| BMP       | BITMAPINFOHEADER, BITMAPCOREHEADER      |                     | the rows of an uncompressed one|
| GIF       | screen and first image                  |                     | the first image's last block   |
| WebP      | the largest of VP8X, VP8, VP8L          | EXIF                | RIFF's length                  |
| TIFF      | the first directory, also its tiles     | tag 274             | the strips of the directory    |
| AVIF      | the largest of ``ispe``                 | ``irot``, ``imir``  | the boxes' lengths             |
| JPEG 2000 | SIZ                                     |                     | EOC                            |
| PNM       | its text                                |                     | (the decoder notices)          |

AVIF, JPEG 2000 and PNM also state their channels' depth, which decoders hand over unscaled; AVIF (``nclx``) and PNG
(``cICP``) state whether an image is HDR.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgeface.imaging.orientation import UPRIGHT, from_heif
from edgeface.imaging.tiff_tags import ORIENTATION, exif_orientation, tiff_tags, valid

_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])", re.DOTALL)  # neither a stuffed zero nor a restart marker
_END_OF_IMAGE, _APP1 = 0xD9, 0xE1
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKERS_WITHOUT_LENGTH = frozenset({0x01, 0xD8})
UNSPECIFIED = 2
_MOST_VALUES = 1 << 16
_DEEPEST_BOX = 4
_GIF_IMAGE, _GIF_TRAILER = 0x2C, 0x3B


@dataclass(frozen=True)
class Header:
    """``size`` width and height as stored, the largest that decoding allocates (``None``: not found); ``orientation``
    as in EXIF, 1…8; ``whole``: the data's end is there; ``white`` the largest value of a channel (``None``: that of its
    type); ``bits`` of a channel; ``transfer`` and ``primaries`` by ITU-T H.273 (2: not stated)."""

    kind: str
    size: tuple[int, int] | None
    orientation: int = UPRIGHT
    whole: bool = True
    white: int | None = None
    bits: int = 8
    transfer: int = UNSPECIFIED
    primaries: int = UNSPECIFIED


def read_header(data: bytes) -> Header | None:
    """The header of an image's bytes; ``None`` for no known format."""
    for kind, known, inspect in _FORMATS:
        if known(data):
            try:
                return inspect(kind, data)
            except (struct.error, IndexError, ValueError, OverflowError):  # a value lies outside the data
                return Header(kind, None, whole=False)
    return None


def _jpeg(kind: str, data: bytes) -> Header:
    """Walk the markers: an end marker inside a thumbnail's segment must not count as the end of the image."""
    size, orientation, at = None, UPRIGHT, 2
    while found := _JPEG_MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return Header(kind, size, orientation)
        if marker in _MARKERS_WITHOUT_LENGTH:
            continue
        if marker in _SOF_MARKERS and at + 7 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = _largest(size, (width, height))
        length = int.from_bytes(data[at : at + 2], "big")
        if marker == _APP1 and orientation == UPRIGHT and data[at + 2 : at + 8] == b"Exif\0\0":
            orientation = exif_orientation(data[at + 8 : at + length])
        at += length
    return Header(kind, size, orientation, whole=False)


def _png(kind: str, data: bytes) -> Header:
    """The first IHDR counts: decoders take that one, whatever follows."""
    size, orientation, colours, at = None, UPRIGHT, (UNSPECIFIED, UNSPECIFIED), 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IEND":
            return Header(kind, size, orientation, transfer=colours[1], primaries=colours[0])
        if name == b"IHDR" and size is None:
            size = struct.unpack_from(">II", data, at + 8)
        if name == b"cICP":
            colours = (data[at + 8], data[at + 9])
        if name == b"eXIf":
            orientation = exif_orientation(data[at + 8 : at + 8 + length])
        at += 12 + length
    return Header(kind, size, orientation, whole=False)


def _bmp(kind: str, data: bytes) -> Header:
    start, head = struct.unpack_from("<I", data, 10)[0], struct.unpack_from("<I", data, 14)[0]
    if head == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packed = False
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        packed = compression in (1, 2)  # run lengths
    row = (abs(width) * bits + 31) // 32 * 4
    return Header(kind, (abs(width), abs(height)), whole=packed or start + row * abs(height) - 4 < len(data))


def _gif(kind: str, data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    size: tuple[int, int] | None = (width, height)
    at = 13 + _gif_palette(flags)
    while at < len(data) and data[at] != _GIF_TRAILER:
        is_image = data[at] == _GIF_IMAGE
        if is_image:
            left, top, width, height, flags = struct.unpack_from("<HHHHB", data, at + 1)
            size = _largest(size, (left + width, top + height))
            at += 11 + _gif_palette(flags)
        else:
            at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        if is_image:  # the only one that is decoded
            return Header(kind, size, whole=at <= len(data))
    return Header(kind, size, whole=False)


def _gif_palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(kind: str, data: bytes) -> Header:
    size, orientation, at = None, UPRIGHT, 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"VP8X":
            size = _largest(size, tuple(1 + int.from_bytes(data[at + o : at + o + 3], "little") for o in (4, 7)))
        elif name == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, at + 6)
            size = _largest(size, (width & 0x3FFF, height & 0x3FFF))
        elif name == b"VP8L":
            bits = struct.unpack_from("<I", data, at + 1)[0]
            size = _largest(size, ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
        elif name == b"EXIF":
            start = 6 if data[at : at + 6] == b"Exif\0\0" else 0
            orientation = exif_orientation(data[at + start : at + length])
        at += length + length % 2
    return Header(kind, size, orientation, whole=8 + struct.unpack_from("<I", data, 4)[0] <= len(data))


def _tiff(kind: str, data: bytes) -> Header:
    tags = tiff_tags(data)
    sides = [tags.get(tag, [0])[0] for tag in (256, 257, 322, 323)]
    if not sides[0] or not sides[1]:
        return Header(kind, None)
    image, tile = (sides[0], sides[1]), (sides[2], sides[3])
    offsets, lengths = tags.get(273) or tags.get(324) or [], tags.get(279) or tags.get(325) or []
    whole = all(start + length <= len(data) for start, length in zip(offsets, lengths))
    orientation = valid(tags.get(ORIENTATION, [UPRIGHT])[0])
    return Header(kind, max(image, tile, key=_pixels), orientation, whole, bits=max(tags.get(258, [1])))


def _avif(kind: str, data: bytes) -> Header:
    """The turns of the primary item (ISO/IEC 23008-12): its associations name properties by their place, from 1."""
    size, whole, white = None, True, 255
    colours = (UNSPECIFIED, UNSPECIFIED)
    properties: list[tuple[bytes, bytes]] = []
    primary, used = 0, {}
    for path, start, end in boxes(data):
        name, body = path[-1], data[start:end]
        if len(path) == 1:
            whole &= end <= len(data)
        if name == b"ispe":
            size = _largest(size, struct.unpack_from(">II", body, 4))
        elif name == b"av1C":
            white = max(white, {0x40: 1023, 0x60: 4095}.get(body[2] & 0x60, 255))
        elif name == b"colr" and body[:4] == b"nclx":
            colours = struct.unpack_from(">HH", body, 4)
        if path[:-1] == (b"meta", b"iprp", b"ipco"):
            properties.append((name, body))
        elif name == b"pitm":
            primary = struct.unpack_from(">I" if body[0] else ">H", body, 4)[0]
        elif name == b"ipma":
            used = _associations(body)
    turns = [properties[place - 1] for place in used.get(primary, ()) if 0 < place <= len(properties)]
    angle = next((body[0] & 3 for name, body in turns if name == b"irot"), 0)
    axis = next((body[0] & 1 for name, body in turns if name == b"imir"), None)
    return Header(kind, size, from_heif(angle, axis), whole, white, transfer=colours[1], primaries=colours[0])


def _associations(body: bytes) -> dict[int, list[int]]:
    """``ipma``: the properties' places of every item."""
    wide_ids, wide_places = body[0] > 0, body[3] & 1
    count, at = struct.unpack_from(">I", body, 4)[0], 8
    found: dict[int, list[int]] = {}
    for _ in range(min(count, _MOST_VALUES)):
        item = struct.unpack_from(">I" if wide_ids else ">H", body, at)[0]
        at += 4 if wide_ids else 2
        places, at = body[at], at + 1
        step = 2 if wide_places else 1
        values = [int.from_bytes(body[at + n * step : at + (n + 1) * step], "big") for n in range(places)]
        found[item] = [value & (0x7FFF if wide_places else 0x7F) for value in values]
        at += places * step
    return found


def boxes(data: bytes) -> Iterator[tuple[tuple[bytes, ...], int, int]]:
    """An image's ISO base media boxes: (path of names, start, end of the body), outer ones first."""
    inside = {(): 0, (b"meta",): 4, (b"meta", b"iprp"): 0, (b"meta", b"iprp", b"ipco"): 0, (b"jp2h",): 0}
    waiting: list[tuple[tuple[bytes, ...], int, int]] = [((), 0, len(data))]
    while waiting:
        parent, at, end = waiting.pop(0)
        at += inside[parent]
        while at + 8 <= end:
            length, name = struct.unpack_from(">I4s", data, at)
            head = 8
            if length == 1:
                length, head = struct.unpack_from(">Q", data, at + 8)[0], 16
            length = end - at if length == 0 else length
            if length < head:
                return
            path = (*parent, name)
            yield path, at + head, at + length
            if path in inside and len(path) <= _DEEPEST_BOX:
                waiting.append((path, at + head, min(at + length, end)))
            at += length


def _jpeg2000(kind: str, data: bytes) -> Header:
    """SIZ of the code stream counts, which is what is decoded; the file's own header may say less."""
    start = 0
    size: tuple[int, int] | None = None
    if not data.startswith(_JP2_STREAM):
        for path, at, _ in boxes(data):
            if path == (b"jp2h", b"ihdr"):
                size = struct.unpack_from(">II", data, at)[::-1]
            if path == (b"jp2c",):
                start = at
                break
        else:
            return Header(kind, size, whole=False)
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    size = _largest(size, (max(0, right - left), max(0, bottom - top)))
    bits = (data[start + 42] & 0x7F) + 1
    return Header(kind, size, whole=b"\xff\xd9" in data[-64:], white=(1 << bits) - 1, bits=bits)


def _pnm(kind: str, data: bytes) -> Header:
    if data[1:2] == b"7":
        found = [re.search(rb"\n%s +(\d{1,9})" % name, data[:1024]) for name in (b"WIDTH", b"HEIGHT", b"MAXVAL")]
        width, height, white = (int(one[1]) if one else 0 for one in found)
        return Header(kind, (width, height), white=white)
    text = re.sub(rb"#[^\n]*", b"", data[2:4096]).split(None, 3)
    return Header(kind, (int(text[0]), int(text[1])), white=None if data[1:2] in b"14" else int(text[2]))


def _pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _largest(size: tuple[int, int] | None, other: tuple[int, ...]) -> tuple[int, int]:
    found = (other[0], other[1])
    return found if size is None else max(size, found, key=_pixels)


def _starts(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(starts)


_JP2_STREAM = b"\xff\x4f\xff\x51"
_FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[str, bytes], Header]], ...] = (
    ("JPEG", _starts(b"\xff\xd8\xff"), _jpeg),
    ("PNG", _starts(b"\x89PNG\r\n\x1a\n"), _png),
    ("BMP", _starts(b"BM"), _bmp),
    ("GIF", _starts(b"GIF87a", b"GIF89a"), _gif),
    ("WebP", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    ("TIFF", _starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    ("AVIF", lambda data: data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"mif1", b"miaf"), _avif),
    ("JPEG 2000", _starts(b"\0\0\0\x0cjP  \r\n\x87\n", _JP2_STREAM), _jpeg2000),
    ("PNM", lambda data: re.match(rb"P[1-7]\s", data) is not None, _pnm),
)
NAMES = tuple(name for name, _, _ in _FORMATS)
