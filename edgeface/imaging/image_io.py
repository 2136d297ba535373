"""Images on disk: decoding to uint8 RGB, upright and whole, and writing.

Whatever the file holds (grey, palette, 10 to 16 bits a channel, HDR, transparency, an orientation), the answer is uint8
``[H, W, 3]`` RGB, turned as the camera was held. Deeper values are scaled to 8 bits, HDR ones tone-mapped; an alpha
channel is dropped, the colours stored beneath it stay. Formats: those of ``image_header``, as far as this OpenCV has
their decoders. A file's size is known and limited before anything is decoded (``EDGEFACE_MAX_MEGAPIXELS``).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.common.files import atomic_path, open_regular
from edgeface.errors import ConfigError, ImageError, SinkError
from edgeface.imaging.image_header import NAMES, Header, read_header
from edgeface.imaging.orientation import UPRIGHT, upright
from edgeface.imaging.tone_mapping import HDR, to_standard_range
from edgeface.types import Image

SUFFIXES = (".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What ``list_images`` takes for an image, in lower case."""
MEGAPIXELS = "EDGEFACE_MAX_MEGAPIXELS"
"""Environment variable: larger images are refused, so that one file cannot take all the memory (default 100, which is
300 MB decoded). A file of more bytes than four a pixel is refused as well."""
_DEFAULT_MEGAPIXELS = 100.0
_LOG_SILENT = 0
_DEEPEST_BITS = 16


def max_pixels() -> int:
    """The most pixels that an image may have. Raises ``ConfigError`` where the environment's value is no number."""
    text = os.environ.get(MEGAPIXELS, "")
    try:
        value = float(text or _DEFAULT_MEGAPIXELS)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e4:
        raise ConfigError(f"{MEGAPIXELS}: expected a number of megapixels above 0 and up to 10000, found `{text}`")
    return int(1e6 * value)


def max_bytes() -> int:
    """The most bytes that an image file may have: four a pixel of the largest image."""
    return 4 * max_pixels()


with suppress(ConfigError):  # OpenCV reads its own limit once, when it is loaded: the last word on a misread header
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(max_pixels()))


class Unreadable(bytes):
    """Stands, empty, for the bytes of a file that could not be read; ``decode_image`` raises its ``fault``."""

    def __new__(cls, fault: str) -> Unreadable:
        self = super().__new__(cls)
        self.fault = fault
        return self

    fault: str


def read_image(path: str | os.PathLike[str]) -> Image:
    """Decode an image file: uint8 ``[H, W, 3]`` RGB, upright. Raises ``ImageError`` with one sentence."""
    try:
        with open_regular(path) as file:
            data = file.read(min(os.fstat(file.fileno()).st_size, max_bytes()) + 1)
    except IsADirectoryError as error:
        raise ImageError(f"`{path}` is a directory, expected an image file") from error
    except FileNotFoundError as error:
        raise ImageError(f"no image at `{path}`: no such file") from error
    except (OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "not enough memory"
        raise ImageError(f"cannot read image `{path}`: {reason}") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str = "picture") -> Image:
    """Decode an image's bytes (of a file or a zip's entry): uint8 ``[H, W, 3]`` RGB, upright.

    ``name`` stands for it in messages. Raises ``ImageError`` where the bytes are empty, no image, cut off (a decoder
    would fill the rest with grey), or more than ``max_pixels``, which is known before anything is decoded.
    """
    if isinstance(data, Unreadable):
        raise ImageError(data.fault)
    if not data:
        raise ImageError(f"`{name}` is empty (0 bytes), expected an image")
    if len(data) > max_bytes():
        raise ImageError(
            f"`{name}` is too large: more than {max_bytes() / 1e6:.0f} MB; scale it down first or raise {MEGAPIXELS}"
        )
    header = read_header(data)
    if header is None:
        raise ImageError(f"`{name}` cannot be decoded as an image: {_found(data)}")
    _check(header, name)
    pixels = _decode_bgr(data)
    if pixels is None:
        raise ImageError(f"`{name}` cannot be decoded as an image: {_undecoded(header)}")
    _check_size((pixels.shape[1], pixels.shape[0]), name)
    # OpenCV turns a TIFF by itself, whatever it is told
    return upright(_to_rgb(pixels, header, name), UPRIGHT if header.kind == "TIFF" else header.orientation)


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
    try:
        encoded, data = cv2.imencode(suffix, _swapped(image), options)
    except cv2.error as error:
        raise SinkError(f"cannot write `{path}`: this OpenCV cannot encode `{suffix}`, name a .png") from error
    if not encoded:
        raise SinkError(f"cannot write `{path}`: a {image.shape[1]}x{image.shape[0]} image does not fit the format")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def list_images(path: str | os.PathLike[str]) -> list[Path]:
    """The image files of a directory in the order of their names (not of its subdirectories), or the one file itself.

    A file is taken whatever its suffix, since someone named it. Raises ``ImageError`` where there is none.
    """
    root = Path(path)
    if os.path.isfile(root):
        return [root]
    if not os.path.isdir(root):
        if os.path.lexists(root):  # a pipe, a device, a broken link: reading it says what is wrong
            return [root]
        raise ImageError(f"no image at `{path}`: no such file or directory")
    try:
        found = sorted(f for f in root.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    except OSError as error:
        raise ImageError(f"cannot read directory `{path}`: {error.strerror or error}") from error
    if not found:
        raise ImageError(f"no images in directory `{path}`: expected files ending in {', '.join(SUFFIXES)}")
    return found


def _decode_bgr(data: bytes) -> NDArray[Any] | None:
    """OpenCV's ``[H, W, 3]`` BGR of any depth, as stored; ``None`` where it cannot decode the bytes."""
    import cv2

    set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel  # OpenCV 4, 5
    level = set_log_level(_LOG_SILENT)  # our one sentence is enough
    how = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except (cv2.error, MemoryError):
        return None
    finally:
        set_log_level(level)


def _swapped(pixels: NDArray[np.uint8]) -> Image:
    """RGB of BGR and the other way round, several times as fast as a reversed slice."""
    import cv2

    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _to_rgb(pixels: NDArray[Any], header: Header, name: str) -> Image:
    """uint8 RGB of BGR of any depth: white stays white, half way between two values is rounded up."""
    import cv2

    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"`{name}` holds {pixels.dtype} values, expected 8 or 16 bits a channel; convert it first")
    full = 255 if pixels.dtype == np.uint8 else 65535
    white = min(header.white or full, full)
    if header.transfer in HDR and pixels.dtype == np.uint16:
        rgb = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint16)
        return to_standard_range(rgb, header.transfer, header.primaries, white)
    if pixels.dtype == np.uint8 and white == full:
        return _swapped(pixels.astype(np.uint8, copy=False))
    return _swapped(np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / white), np.uint8))


def _check(header: Header, name: str) -> None:
    """Raise ``ImageError`` for what should not be handed to a decoder."""
    _check_size(header.size, name)
    if not header.whole:
        raise ImageError(f"`{name}` is cut off: its {header.kind} data has no end, copy or download it again")
    if header.size is None or 0 in header.size:
        raise ImageError(f"`{name}` cannot be decoded as an image: {_DAMAGED}")
    if header.bits > _DEEPEST_BITS:
        raise ImageError(
            f"`{name}` holds values of {header.bits} bits, expected 8 or 16 bits a channel; convert it first"
        )


def _check_size(size: tuple[int, int] | None, name: str) -> None:
    most = max_pixels()
    if size and size[0] * size[1] > most:
        raise ImageError(
            f"`{name}` is too large: {size[0]}x{size[1]} pixels, expected at most {most / 1e6:g} megapixels; "
            f"scale it down first or raise {MEGAPIXELS}"
        )


_DAMAGED = "its data is damaged, copy or download it again"


def _undecoded(header: Header) -> str:
    import cv2

    suffix = _OPTIONAL.get(header.kind)
    if suffix and not cv2.haveImageWriter(f"a{suffix}"):  # asked about reading, it wants a file
        return f"this OpenCV has no {header.kind}, convert it to JPEG or PNG"
    return _DAMAGED


_OPTIONAL = {"AVIF": ".avif", "JPEG 2000": ".jp2", "WebP": ".webp", "TIFF": ".tiff", "GIF": ".gif"}
"""Formats that OpenCV may have been built without."""


def _found(data: bytes) -> str:
    """What the bytes look like instead, for a message."""
    head = data[:64]
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "it holds text"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis"):
        return "it is a HEIC file, convert it to JPEG or AVIF"
    return f"its first bytes are {head[:8].hex(' ')}, no known image format; expected {', '.join(NAMES)}"
