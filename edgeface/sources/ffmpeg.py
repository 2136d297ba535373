"""What every source that FFmpeg decodes shares: decoded frames as a player shows them."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

import numpy as np

from edgeface.errors import SourceError
from edgeface.imaging.image_io import MEGAPIXELS, max_pixels
from edgeface.imaging.orientation import UPRIGHT, from_matrix, upright
from edgeface.imaging.tone_mapping import HDR, to_standard_range
from edgeface.types import Image

BT709, UNSPECIFIED = 1, 2
"""FFmpeg's numbers for colour matrices, which are ITU-T H.273's."""
HD_LINES = 720
"""From here on a video that does not state its colour matrix is BT.709."""
_BT601, _BT2020 = 5, 9
_SCALER_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""By H.273's number, that of FFmpeg's scaler; others (YCgCo, ICtCp) are shown as BT.601 rather than not at all."""
_NARROWEST, _WIDEST = Fraction(1, 8), Fraction(8)
"""Pixels of another shape are a damaged header, not a format."""


class FrameConverter:
    """Decoded frames of ``stream`` as uint8 ``[H, W, 3]`` RGB, as a player shows them.

    Pixels are made square by enlarging one side, the display matrix turns and mirrors (any angle by the nearest
    quarter), HDR is tone-mapped (``imaging.tone_mapping``), and an unstated colour matrix is BT.709 from ``HD_LINES``
    on, else BT.601. Raises ``SourceError`` for a codec that is unknown and for frames of more than ``max_pixels``.
    """

    def __init__(self, stream: Any) -> None:
        from av.video.reformatter import VideoReformatter

        if stream.codec_context is None:
            raise SourceError("this FFmpeg has no decoder for its video, convert it first")
        self._stream = stream
        self._reformatter = VideoReformatter()  # one for all frames: one a frame starts threads each time
        self._threads = _threads()
        self._orientation: int | None = None
        self._intra_only = bool(stream.codec.intra_only)
        self._most = max_pixels()
        # FFmpeg itself then decodes nothing larger, whatever a later header claims
        stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(self._most)}
        check_size(stream.codec_context.width, stream.codec_context.height, self._most)

    def __call__(self, frame: Any) -> Image:
        width, height = square_size(frame.width, frame.height, aspect_of(self._stream))
        check_size(width, height, self._most)
        transfer = getattr(frame, "color_trc", UNSPECIFIED)
        is_hdr = transfer in HDR
        matrix = None if frame.format.is_rgb else _SCALER_MATRIX.get(_matrix_of(frame, is_hdr), _BT601)
        layout = "rgb48le" if is_hdr else "rgb24"
        shown = self._reformatter.reformat(
            frame, width, height, layout, src_colorspace=matrix, dst_colorspace=matrix, **self._threads
        )
        pixels = shown.to_ndarray()
        if is_hdr:
            pixels = to_standard_range(
                pixels.astype(np.uint16, copy=False), transfer, getattr(frame, "color_primaries", UNSPECIFIED)
            )
        return upright(np.ascontiguousarray(pixels), self._orientation_of(frame))

    def _orientation_of(self, frame: Any) -> int:
        """That of the first frame, and of key frames where not all are.

        A frame whose side data is looked at refers to itself from then on (PyAV), so that it keeps its memory until
        Python's collector comes by: not to be done to every frame.
        """
        if self._orientation is None or (frame.key_frame and not self._intra_only):
            self._orientation = orientation_of(frame)
        return self._orientation


def _threads() -> dict[str, int]:
    """Newer PyAV starts as many threads as there are cores for each frame, which costs more than it saves."""
    import av

    return {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


def aspect_of(stream: Any) -> Fraction | None:
    """Width to height of a pixel: what the container says, else the codec."""
    aspect: Fraction | None = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return aspect


def orientation_of(frame: Any) -> int:
    """How a decoded frame is turned and mirrored, as EXIF numbers it, by its display matrix."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return from_matrix(struct.unpack("=9i", bytes(data)[:36]))
    return UPRIGHT


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """The size with square pixels: one side is enlarged, as HTML's video element does, so that no detail is lost."""
    if not aspect or aspect == 1 or not _NARROWEST <= aspect <= _WIDEST:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def check_size(width: int, height: int, most: int) -> None:
    """Raise ``SourceError`` where a frame has more than ``most`` pixels."""
    if width * height > most:
        raise SourceError(
            f"its frames are too large: {width}x{height} pixels, expected at most {most / 1e6:g} megapixels; "
            f"scale the video down first or raise {MEGAPIXELS}"
        )


def _matrix_of(frame: Any, is_hdr: bool) -> int:
    """H.273's number of the colour matrix; where none is stated, what players take for it."""
    stated = int(frame.colorspace)
    if stated != UNSPECIFIED:
        return stated
    if is_hdr:
        return _BT2020
    return BT709 if frame.height >= HD_LINES else _BT601


def reason(error: Any) -> str:
    """FFmpeg's words for an error, in lower case; ``str(error)`` would add the address with its password."""
    return str(getattr(error, "strerror", None) or type(error).__name__).lower()
