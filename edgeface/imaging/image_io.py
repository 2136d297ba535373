"""Images on disk: decoding to uint8 RGB, upright and whole, and writing.

Whatever the file holds (grey, palette, 16 bits a channel, transparency, an EXIF orientation), the answer is uint8
``[H, W, 3]`` RGB, turned as the camera was held. 16-bit values are scaled to 8 bits; an alpha channel is dropped, the
colours stored beneath it stay.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.common.files import atomic_path
from edgeface.errors import ImageError, SinkError
from edgeface.types import Image

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What ``list_images`` takes for an image, in lower case."""
MAX_PIXELS = 1 << 27
"""Larger images (134 megapixels, 400 MB decoded) are refused, so that one file cannot take all the memory."""

_JPEG_START, _PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])", re.DOTALL)  # neither a stuffed zero nor a restart marker
_END_OF_IMAGE = 0xD9
_LOG_SILENT = 0
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKERS_WITHOUT_LENGTH = frozenset({0x01, 0xD8})


def read_image(path: str | os.PathLike[str]) -> Image:
    """Decode an image file: uint8 ``[H, W, 3]`` RGB, upright. Raises ``ImageError`` with one sentence."""
    try:
        data = Path(path).read_bytes()
    except IsADirectoryError as error:
        raise ImageError(f"`{path}` is a directory, expected an image file") from error
    except FileNotFoundError as error:
        raise ImageError(f"no image at `{path}`: no such file") from error
    except OSError as error:
        raise ImageError(f"cannot read image `{path}`: {error.strerror or error}") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str = "picture") -> Image:
    """Decode an image's bytes (of a file or a zip's entry): uint8 ``[H, W, 3]`` RGB, upright.

    ``name`` stands for it in messages. Raises ``ImageError`` where the bytes are empty, no image, cut off (a decoder
    would fill the rest with grey), or more than ``MAX_PIXELS``.
    """
    if not data:
        raise ImageError(f"`{name}` is empty (0 bytes), expected an image")
    size, whole = _inspect(data)
    _check_size(size, name)
    if not whole:
        raise ImageError(f"`{name}` is cut off: its {_kind(data)} data has no end, copy or download it again")
    pixels = _decode_bgr(data)
    if pixels is None:
        raise ImageError(f"`{name}` cannot be decoded as an image: {_found(data)}")
    _check_size((pixels.shape[1], pixels.shape[0]), name)
    return _swapped(_to_8_bits(pixels, name))


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write uint8 ``[H, W, 3]`` RGB in the format the suffix names; the file appears whole or not at all.

    Raises ``SinkError`` where it cannot be written or the suffix is none that can.
    """
    import cv2

    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        found = suffix or "no suffix"
        raise SinkError(f"cannot write `{path}`: expected a name ending in {', '.join(SUFFIXES)}, found `{found}`")
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if suffix in (".jpg", ".jpeg") else []
    encoded, data = cv2.imencode(suffix, _swapped(image), options)
    if not encoded:
        raise SinkError(f"cannot write `{path}`: a {image.shape[1]}x{image.shape[0]} image does not fit the format")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def list_images(path: str | os.PathLike[str]) -> list[Path]:
    """The image files of a directory in the order of their names (not of its subdirectories), or the one file itself.

    A file is taken whatever its suffix, since someone named it. Raises ``ImageError`` where there is none.
    """
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise ImageError(f"no image at `{path}`: no such file or directory")
    try:
        found = sorted(f for f in root.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    except OSError as error:
        raise ImageError(f"cannot read directory `{path}`: {error.strerror or error}") from error
    if not found:
        raise ImageError(f"no images in directory `{path}`: expected files ending in {', '.join(SUFFIXES)}")
    return found


def _decode_bgr(data: bytes) -> NDArray[np.generic] | None:
    """OpenCV's ``[H, W, 3]`` BGR of any depth, EXIF orientation applied; ``None`` where it cannot decode the bytes."""
    import cv2

    set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel  # OpenCV 4, 5
    level = set_log_level(_LOG_SILENT)  # our one sentence is enough
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None
    finally:
        set_log_level(level)


def _swapped(pixels: NDArray[np.uint8]) -> Image:
    """RGB of BGR and the other way round, several times as fast as a reversed slice."""
    import cv2

    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _to_8_bits(pixels: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 * 257, so white stays white
    raise ImageError(f"`{name}` holds {pixels.dtype} values, expected 8 or 16 bits a channel; convert it first")


def _check_size(size: tuple[int, int] | None, name: str) -> None:
    if size and size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"`{name}` is too large: {size[0]}x{size[1]} pixels, expected at most {MAX_PIXELS / 1e6:.0f} megapixels; "
            "scale it down first"
        )


def _inspect(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Width and height in the header (``None``: known only after decoding), and whether the end is there."""
    if data.startswith(_JPEG_START):
        return _inspect_jpeg(data)
    if data.startswith(_PNG_START):
        return _inspect_png(data)
    return None, True


def _inspect_jpeg(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Walk the markers: an end marker inside a thumbnail's segment must not count as the end of the image."""
    size, at = None, 2
    while found := _JPEG_MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return size, True
        if marker in _MARKERS_WITHOUT_LENGTH:
            continue
        if marker in _SOF_MARKERS and at + 7 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = (width, height)
        at += int.from_bytes(data[at : at + 2], "big")
    return size, False


def _inspect_png(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    size, at = None, len(_PNG_START)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return size, True
        if kind == b"IHDR" and at + 16 <= len(data):
            size = struct.unpack_from(">II", data, at + 8)
        at += 12 + length
    return size, False


def _kind(data: bytes) -> str:
    return "JPEG" if data.startswith(_JPEG_START) else "PNG"


def _found(data: bytes) -> str:
    """What the bytes look like instead, for a message."""
    if data.startswith((_JPEG_START, _PNG_START, b"RIFF", b"BM", b"II*\0", b"MM\0*")):
        return "its data is damaged, copy or download it again"
    head = data[:64]
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "it holds text"
    return f"its first bytes are {head[:8].hex(' ')}, no known image format"
