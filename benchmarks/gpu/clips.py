"""What a GPU is timed with: frames that hold exactly so many heads, without any data."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np

from edgeface.imaging.portraits import portraits
from edgeface.inference.detector import FaceDetector
from edgeface.inference.result import FrameResult
from edgeface.sinks.video import VideoSink
from edgeface.types import Frame, Image


def make_clip(path: Path, size: tuple[int, int], faces: int, frames: int = 60) -> None:
    """A clip of so many heads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoSink(path) as sink:
        for index, pixels in enumerate(pictures(size, faces, frames)):
            sink.append(FrameResult(Frame(pixels, index / 25, "clip", index), ()))


def pictures(size: tuple[int, int], faces: int, count: int, seed: int = 0) -> list[Image]:
    """Successive frames of heads in a grid, as large as they fit, which sway a little."""
    import cv2

    columns = math.ceil(math.sqrt(faces * size[0] / size[1]))
    rows = math.ceil(faces / columns)
    cell = size[0] // columns, size[1] // rows
    side = int(0.9 * min(cell))
    shown = [np.asarray(cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)) for head in _heads()]
    frames = []
    for index in range(count):
        frame = np.full((size[1], size[0], 3), 170, np.uint8)
        for number in range(faces):
            left = number % columns * cell[0] + (3 * index + 5 * number) % max(cell[0] - side, 1)
            top = number // columns * cell[1]
            frame[top : top + side, left : left + side] = shown[(number + seed) % len(shown)]
        frames.append(frame)
    return frames


@cache
def _heads() -> tuple[Image, ...]:
    """The sample portraits, cut to their heads."""
    heads = []
    with FaceDetector() as detector:
        for picture in portraits().values():
            left, top, right, bottom = detector(picture).boxes[0]
            side = int(1.5 * max(right - left, bottom - top))
            column, row = (max(int((low + high - side) / 2), 0) for low, high in ((left, right), (top, bottom)))
            head = picture[row : row + side, column : column + side]
            heads.append(head[: min(head.shape[:2]), : min(head.shape[:2])])
    return tuple(heads)
