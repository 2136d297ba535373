"""What every source that FFmpeg decodes shares."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeface.types import Image


def upright(frame: Any) -> Image:
    """uint8 ``[H, W, 3]`` RGB, turned counter-clockwise by the display matrix' angle, to the nearest quarter."""
    pixels = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


def reason(error: Any) -> str:
    """FFmpeg's words for an error, in lower case; ``str(error)`` would add the address with its password."""
    return str(getattr(error, "strerror", None) or type(error).__name__).lower()
