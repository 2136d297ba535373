"""An image and the landmarks of its faces, moved together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.types import Floats, Image
from trainer.detector.sources import Pictures

MIRRORED = (1, 0, 2, 4, 3)
"""Rows of five landmarks after an image was mirrored: eyes and mouth corners change sides."""


@dataclass
class Marked:
    """``image`` uint8 ``[H, W, 3]`` RGB; ``marks`` float32 ``[K, 5, 2]`` pixels, of faces where they are known."""

    image: Image
    marks: Floats

    @classmethod
    def bare(cls, image: Image) -> Marked:
        """An image without known landmarks."""
        return cls(image, np.zeros((0, 5, 2), np.float32))

    def mirrored(self) -> Marked:
        marks = self.marks[:, MIRRORED].copy()
        marks[..., 0] = self.image.shape[1] - marks[..., 0]
        return Marked(np.ascontiguousarray(self.image[:, ::-1]), marks)

    def resized(self, width: int, height: int) -> Marked:
        """Shrunk by averaging."""
        ratio = np.array([width / self.image.shape[1], height / self.image.shape[0]], np.float32)
        image = cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)
        return Marked(np.asarray(image, np.uint8), self.marks * ratio)

    def cover(self, centre: NDArray[np.floating], reach_px: float) -> None:
        """Forget the faces whose middle lies within ``reach_px`` of ``centre``: something was put over them."""
        self.marks = self.marks[np.linalg.norm(self.marks.mean(axis=1) - centre, axis=1) > reach_px]

    def add(self, marks: Floats) -> None:
        self.marks = np.concatenate([self.marks, marks]).astype(np.float32)


def moved(marks: Floats, matrix: NDArray[Any]) -> Floats:
    """Landmarks after ``cv2.warpAffine`` or ``warpPerspective`` with ``matrix`` (2×3 or 3×3, source to target).

    OpenCV counts from the middle of the first pixel, landmarks from its corner.
    """
    points = np.concatenate([marks - 0.5, np.ones((*marks.shape[:-1], 1))], axis=-1) @ matrix.T
    flat = points[..., :2] / points[..., 2:] if points.shape[-1] == 3 else points
    return np.asarray(flat + 0.5, np.float32)


class MarkedPictures:
    """Images whose landmarks are found when they are first asked for, and then kept."""

    def __init__(self, pictures: Pictures, find: Callable[[int], Floats]) -> None:
        self._pictures, self._find = pictures, find
        self._marks: dict[int, Floats] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Marked:
        if index not in self._marks:
            self._marks[index] = self._find(index)
        return Marked(self._pictures[index], self._marks[index])
