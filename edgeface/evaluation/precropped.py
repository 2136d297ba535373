"""Faces of chips: images that were already cut around one face, like those of UTKFace and FairFace.

A detector learned faces with something around them; a chip's face may touch all four sides. So the chip is framed
with a border before detection, and what was found is mapped back. Training and evaluation cut their crops here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeface.imaging.preprocess import align, centre_crop
from edgeface.inference.attributes import landmarks_of
from edgeface.spec.model import AlignmentSpec
from edgeface.types import Faces, Floats, Image

Detector = Callable[[Image], Faces]
"""Anything that answers a uint8 ``[H, W, 3]`` RGB image with its ``Faces``, in that image's pixels."""

BORDER_FRAC = 0.3
_BORDERS_FRAC = (BORDER_FRAC, 0.0, 0.7)
"""Borders tried in turn, as fractions of the chip's longer side, until a face is found."""
_MIN_SIDE_FRAC = 0.25
"""A chip's own face fills it; anything smaller than this is someone in the background."""


def pad_edges(image: Image, frac: float = BORDER_FRAC) -> Image:
    """A chip with a border of ``frac`` of its longer side, made of its edge pixels."""
    border = round(frac * max(image.shape[:2]))
    return np.pad(image, ((border, border), (border, border), (0, 0)), mode="edge") if border else image


def chip_landmarks(detector: Detector, image: Image) -> Floats | None:
    """Five landmarks of a chip's face: float32 ``[5, 2]`` in the chip's pixels, ``None`` where no face is found.

    ``image`` uint8 ``[H, W, 3]`` RGB. Of several faces the one that is largest and nearest to the centre counts.
    """
    height, width = image.shape[:2]
    for frac in _BORDERS_FRAC:
        whole = pad_edges(image, frac)
        border = (whole.shape[0] - height) // 2
        faces = detector(whole)
        row = _main_face(faces, whole.shape[1], whole.shape[0], _MIN_SIDE_FRAC * min(height, width))
        if row is not None:
            return np.asarray(landmarks_of(faces[row])[0] - border, np.float32)
    return None


def chip_crop(detector: Detector, image: Image, alignment: AlignmentSpec, size: int) -> tuple[NDArray[np.uint8], bool]:
    """The aligned crop uint8 ``[size, size, 3]`` of a chip's face, and whether the detector found it.

    Where it did not, the crop is the chip's centre square.
    """
    landmarks = chip_landmarks(detector, image)
    if landmarks is None:
        return centre_crop(image, size), False
    return align(image, landmarks[None], alignment, size)[0], True


def _main_face(faces: Faces, width: int, height: int, min_side_px: float) -> int | None:
    """Row of the face with the largest side less distance from the centre; ``None`` if none is big enough."""
    boxes = faces.boxes.astype(np.float64)
    sides = np.sqrt(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    distances = np.hypot(*(centres - [width / 2, height / 2]).T)
    preferences = np.where(sides >= min_side_px, sides - distances, -np.inf)
    return int(preferences.argmax()) if np.isfinite(preferences).any() else None
