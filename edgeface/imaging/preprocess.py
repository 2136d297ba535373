"""*The* way from an image to network input, shared by training, calibration and runtime.

A crop is the image seen through a similarity transform: where it shrinks by two or more, the image is first
halved (2×2 box average) until it shrinks by less than two, then sampled bilinearly at pixel centres, with the
image's edge pixels continued outside. OpenCV does the sampling; its fixed-point weights stay within two grey
levels of exact arithmetic (``tests/golden`` pins that).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeface.imaging.geometry import Letterbox, Matrix, centre_square, invert, similarity
from edgeface.spec.model import AlignmentSpec
from edgeface.types import Floats, Image


class Pyramid:
    """An image and its lazily made halves, so that many faces of one image share the work."""

    def __init__(self, image: Image) -> None:
        self._levels = [image]

    def level(self, index: int) -> tuple[Image, int]:
        """The image halved ``index`` times (or as often as it can be) and how often that was."""
        while len(self._levels) <= index and min(self._levels[-1].shape[:2]) >= 2:
            self._levels.append(_halve(self._levels[-1]))
        index = min(index, len(self._levels) - 1)
        return self._levels[index], index


def _halve(image: Image) -> Image:
    """2×2 box average; an odd last row or column is left out so that coordinates halve exactly."""
    import cv2

    height, width = image.shape[0] // 2, image.shape[1] // 2
    even = image[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def warp(image: Image | Pyramid, matrix: Matrix, size: int) -> Image:
    """The ``size``×``size`` crop whose point ``matrix @ [x, y, 1]`` shows the image's point ``x, y``.

    ``image`` uint8 ``[H, W, 3]`` (or its ``Pyramid``); ``matrix`` float64 ``[2, 3]`` in continuous coordinates.
    Returns uint8 ``[size, size, 3]`` in the image's colour order.
    """
    import cv2

    pyramid = image if isinstance(image, Pyramid) else Pyramid(image)
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    # The 1e-6 puts a scale of exactly 1/2, 1/4, … on one side whatever the rounding of the matrix.
    source, halvings = pyramid.level(max(0, math.floor(-math.log2(scale) + 1e-6)))
    inverse = invert(matrix) / 2**halvings
    inverse[:, 2] += inverse[:, :2] @ [0.5, 0.5] - 0.5  # pixel centres: OpenCV counts them from 0, not from 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(source, inverse, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8)


def template_px(alignment: AlignmentSpec, size: int) -> NDArray[np.float64]:
    """The canonical landmarks in pixels of a ``size``×``size`` crop: float64 ``[5, 2]``."""
    return np.asarray(alignment.template, np.float64) * size


def align(image: Image | Pyramid, landmarks: Floats, alignment: AlignmentSpec, size: int) -> NDArray[np.uint8]:
    """Aligned crops of every face of one image.

    ``image`` uint8 ``[H, W, 3]`` RGB; ``landmarks`` float32 ``[N, 5, 2]`` in pixels. Returns uint8
    ``[N, size, size, 3]`` RGB. Raises ``ValueError`` where a face's landmarks coincide or are not finite.
    """
    pyramid = image if isinstance(image, Pyramid) else Pyramid(image)
    target = template_px(alignment, size)
    crops = np.empty((len(landmarks), size, size, 3), np.uint8)
    for row, points in enumerate(landmarks):
        crops[row] = warp(pyramid, similarity(points, target), size)
    return crops


def centre_crop(image: Image, size: int) -> Image:
    """The largest centred square, scaled: uint8 ``[size, size, 3]``. The fallback for a chip without a found face."""
    return warp(image, centre_square(image.shape[1], image.shape[0], size), size)


def fit_canvas(image: Image, fit: Letterbox) -> Image:
    """The image scaled and padded to a detector's canvas: uint8 ``[canvas_height, canvas_width, 3]``, zeros outside.

    Shrinking averages areas, so that small faces do not alias away; enlarging is bilinear.
    """
    import cv2

    canvas = np.zeros((fit.canvas_height, fit.canvas_width, 3), np.uint8)
    target = (fit.width, fit.height)
    if (image.shape[1], image.shape[0]) != target:
        shrinks = fit.width < image.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, target, interpolation=how), np.uint8)
    canvas[: fit.height, : fit.width] = image
    return canvas


def stack(crops: Sequence[Image], size: int) -> NDArray[np.uint8]:
    """Crops as one batch: uint8 ``[N, size, size, 3]``, also for none."""
    return np.stack(crops) if crops else np.empty((0, size, size, 3), np.uint8)
