"""Similarity alignment to the canonical five-point template, and letterboxing. Pure NumPy.

Points are ``[..., 2]`` x, y in continuous image coordinates (see ``edgeface.types``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeface.types import Floats

Matrix = NDArray[np.float64]
"""float64 ``[2, 3]`` affine matrix: ``[x', y'] = M @ [x, y, 1]``."""

TEMPLATE_POINTS: tuple[tuple[float, float], ...] = (
    (-0.50, -0.51),
    (0.50, -0.51),
    (0.00, 0.08),
    (-0.41, 0.51),
    (0.41, 0.51),
)
"""The canonical face in units of the eye distance: the origin halfway between the eyes' line and the mouth's.

Order: right eye, left eye, nose tip, right and left mouth corner (the subject's right is left in the image).
Rounded from the mean of the landmarks of 51,000 faces (UTKFace and FairFace), made symmetric. Every face is mapped
onto the same one, so the exact figures matter less than that training, calibration and runtime share them.
"""


def template(size: int, eye_distance_frac: float, centre_y_frac: float) -> NDArray[np.float64]:
    """Where the five landmarks land in a ``size``×``size`` crop: float64 ``[5, 2]``.

    ``eye_distance_frac`` is the eye distance as a fraction of the crop's side (smaller = more margin around the
    face), ``centre_y_frac`` the height of the point halfway between eyes and mouth.
    """
    points = np.asarray(TEMPLATE_POINTS, np.float64) * (eye_distance_frac * size)
    points += np.array([0.5 * size, centre_y_frac * size])
    return points


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> Matrix:
    """The rotation, uniform scale and shift that map ``source`` onto ``target`` (both ``[K, 2]``) best.

    Least squares in closed form, reflection excluded: Umeyama, "Least-squares estimation of transformation
    parameters between two point patterns", PAMI 1991, which in two dimensions is one complex division.
    Raises ``ValueError`` where the source points coincide or are not finite.
    """
    src, dst = np.asarray(source, np.float64), np.asarray(target, np.float64)
    src_mean, dst_mean = src.mean(axis=0), dst.mean(axis=0)
    src_complex = (src - src_mean) @ np.array([1, 1j])
    dst_complex = (dst - dst_mean) @ np.array([1, 1j])
    spread = float(np.sum(np.abs(src_complex) ** 2))
    if not np.isfinite(spread) or spread < 1e-12:
        raise ValueError("landmarks: expected five finite points that do not coincide")
    turn = np.sum(np.conj(src_complex) * dst_complex) / spread
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.hstack([linear, (dst_mean - linear @ src_mean)[:, None]])


def transform(matrix: Matrix, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply an affine ``matrix`` to points ``[..., 2]``."""
    moved: NDArray[np.float64] = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return moved


def invert(matrix: Matrix) -> Matrix:
    """The inverse of an affine ``matrix``."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.hstack([linear, -linear @ matrix[:, 2:]])


def centre_square(width: int, height: int, size: int) -> Matrix:
    """Map the largest centred square of a ``width``×``height`` image onto a ``size``×``size`` crop."""
    scale = size / min(width, height)
    return np.array([[scale, 0.0, (size - scale * width) / 2], [0.0, scale, (size - scale * height) / 2]])


@dataclass(frozen=True)
class Letterbox:
    """How an image was scaled into the top-left corner of a padded canvas; undo it with ``to_image``."""

    scale_x: float
    scale_y: float
    width: int
    height: int
    canvas_width: int
    canvas_height: int

    def to_image(self, points: NDArray[np.floating]) -> Floats:
        """Map points ``[..., 2]`` of the canvas back to the image (float32)."""
        return (np.asarray(points, np.float64) / [self.scale_x, self.scale_y]).astype(np.float32)


def letterbox(width: int, height: int, longest_px: int, multiple: int = 32, upscale: float = 1.0) -> Letterbox:
    """Fit a ``width``×``height`` image (pixels) so that its longest side is at most ``longest_px``.

    An image smaller than that is enlarged by at most ``upscale``. The canvas is the result rounded up to whole
    ``multiple``s; the scaled image keeps its aspect ratio up to whole pixels and at least one pixel a side.
    """
    scale = min(longest_px / max(width, height), upscale)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    return Letterbox(
        new_width / width,
        new_height / height,
        new_width,
        new_height,
        -(-new_width // multiple) * multiple,
        -(-new_height // multiple) * multiple,
    )
