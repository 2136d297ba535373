"""How a camera was held: the eight ways in which stored pixels are turned and mirrored to be shown.

One number stands for them all, EXIF's orientation (tag 274 of TIFF 6.0), whatever a file or a video says it by.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeface.types import Image

UPRIGHT = 1
_TRANSPOSED = (5, 6, 7, 8)
_MIRRORED_X = (2, 3, 6, 7)
"""Mirrored left to right, after transposing."""
_MIRRORED_Y = (3, 4, 7, 8)
_OF = {(number in _TRANSPOSED, number in _MIRRORED_X, number in _MIRRORED_Y): number for number in range(UPRIGHT, 9)}


def upright(pixels: Image, orientation: int) -> Image:
    """``pixels`` as they are to be shown, contiguous; those of orientation 1 as they are."""
    import cv2

    if orientation == UPRIGHT:
        return pixels
    turned = np.asarray(cv2.transpose(pixels), np.uint8) if orientation in _TRANSPOSED else pixels
    across, down = orientation in _MIRRORED_X, orientation in _MIRRORED_Y
    return np.asarray(cv2.flip(turned, -1 if across and down else int(across)), np.uint8) if across or down else turned


def turns(orientation: int) -> bool:
    """Whether width and height change places."""
    return orientation in _TRANSPOSED


def from_matrix(matrix: Sequence[int]) -> int:
    """The orientation of a display matrix, nine numbers (a, b, u, c, d, v, x, y, w) as in ISO/IEC 14496-12.

    A point is shown at (a·x + c·y, b·x + d·y); any other angle than quarters is taken for the nearest one.
    """
    a, b, _, c, d = matrix[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return _OF[False, a < 0, d < 0]
    return _OF[True, c < 0, b < 0]


def from_heif(quarters: int, axis: int | None) -> int:
    """The orientation of HEIF's properties: ``irot`` turns counter-clockwise, then ``imir`` swaps top and bottom (0) or
    left and right (1)."""
    transposed = quarters % 2 == 1
    across, down = quarters in (2, 3), quarters in (1, 2)
    return _OF[transposed, across != (axis == 1), down != (axis == 0)]
