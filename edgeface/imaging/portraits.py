"""Two public-domain portraits (``assets/photos/CREDITS.md``), and frames of a camera that moves over them.

The portraits hang side by side: the camera is close to the first, back to both, close to the second. Faces so move,
change size, enter and leave as they do in a real video.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.imaging.image_io import list_images, read_image
from edgeface.types import Frame, Image

_PANEL = (512, 576)
"""Width and height in pixels of one portrait on the wall."""
_PATH: tuple[tuple[float, tuple[float, float, float]], ...] = (
    (0.00, (250, 150, 440)),
    (0.17, (236, 160, 500)),
    (0.42, (512, 288, 1024)),
    (0.62, (512, 288, 1000)),
    (0.85, (775, 220, 540)),
    (1.00, (779, 210, 470)),
)
"""The camera: at this share of the clip, centre x, y and width of what it sees, in pixels of the wall."""


def portrait_paths() -> list[Path]:
    """The two portraits' files."""
    return list_images(Path(str(resources.files("edgeface") / "assets" / "photos")))


def portraits() -> dict[str, Image]:
    """The two portraits by file name without suffix: uint8 ``[H, W, 3]`` RGB."""
    return {path.stem: read_image(path) for path in portrait_paths()}


def demo_frames(seconds: float = 6.0, size: tuple[int, int] = (640, 360), fps: float = 25.0) -> Iterator[Frame]:
    """The clip's frames, at least one."""
    import cv2

    wall = np.hstack([_hung(portrait) for portrait in portraits().values()])
    count = max(1, round(seconds * fps))
    for index in range(count):
        view = _view(index / max(1, count - 1), size)
        pixels = cv2.warpAffine(wall, view, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        yield Frame(np.asarray(pixels, np.uint8), index / fps, "demo", index)


def _hung(portrait: Image) -> Image:
    """The portrait scaled to cover its panel, cropped at the sides evenly and below."""
    import cv2

    width, height = _PANEL
    scale = max(width / portrait.shape[1], height / portrait.shape[0])
    scaled = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    left = (scaled.shape[1] - width) // 2
    return np.asarray(scaled[:height, left : left + width], np.uint8)


def _view(share: float, size: tuple[int, int]) -> NDArray[np.float64]:
    """The affine matrix ``[2, 3]`` from wall to frame at this ``share`` of the clip, eased between the stops."""
    times, stops = [at for at, _ in _PATH], np.array([stop for _, stop in _PATH])
    leg = min(max(int(np.searchsorted(times, share)), 1), len(times) - 1)
    part = (share - times[leg - 1]) / (times[leg] - times[leg - 1])
    x, y, width = stops[leg - 1] + (stops[leg] - stops[leg - 1]) * part**2 * (3 - 2 * part)
    scale = size[0] / width
    return np.array([[scale, 0.0, size[0] / 2 - scale * x], [0.0, scale, size[1] / 2 - scale * y]])
