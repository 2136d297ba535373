"""Where the face is in an aligned crop, found without a network: the target of the auxiliary segmentation task.

The alignment says where a face has to be; GrabCut says where its colours end. Rother, Kolmogorov, Blake, "GrabCut:
interactive foreground extraction using iterated graph cuts", SIGGRAPH 2004.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.imaging.geometry import TEMPLATE_POINTS
from edgeface.spec.model import AlignmentSpec

_SIDE = 64
"""GrabCut works on a crop of this side: a mask has no finer detail, and the time grows with the pixels."""
_ROUNDS = 3
_LEAST_OVERLAP = 0.7
"""Intersection over union with the mean face below which the colours misled: then the mean face is the mask."""

# Ellipses about the template's origin in units of the eye distance: centre's height, half width, half height.
_SURELY_FACE = (-0.05, 0.68, 0.93)
_MEAN_FACE = (-0.05, 0.98, 1.22)
_PERHAPS_FACE = (-0.10, 1.20, 1.50)


def face_mask(crop: NDArray[np.uint8], alignment: AlignmentSpec) -> NDArray[np.uint8]:
    """uint8 ``[S, S, 3]`` RGB crop, aligned as ``alignment`` says → uint8 ``[S, S]``, 255 where the face is, else 0.

    The same crop gives the same mask. Forehead and chin are part of the face, hair, neck and ears mostly not.
    """
    small = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    sure, mean, perhaps = (_ellipse(alignment, shape) for shape in (_SURELY_FACE, _MEAN_FACE, _PERHAPS_FACE))
    seed = np.full((_SIDE, _SIDE), cv2.GC_BGD, np.uint8)
    seed[perhaps] = cv2.GC_PR_BGD
    seed[mean] = cv2.GC_PR_FGD
    seed[sure] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # its colour clusters start at random
    try:
        cv2.grabCut(small, seed, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
        found = _smoothed((seed == cv2.GC_FGD) | (seed == cv2.GC_PR_FGD))
    except cv2.error:  # a crop of one colour has no clusters
        found = mean
    if (found & mean).sum() < _LEAST_OVERLAP * (found | mean).sum():
        found = mean
    large = cv2.resize(found.astype(np.uint8) * 255, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(large >= 128, 255, 0).astype(np.uint8)


def _ellipse(alignment: AlignmentSpec, shape: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The pixels inside an ellipse: bool ``[_SIDE, _SIDE]``."""
    points = np.asarray(alignment.template) * _SIDE
    unit = points[1, 0] - points[0, 0]
    x0, y0 = points.mean(axis=0) - np.mean(TEMPLATE_POINTS, axis=0) * unit
    centre, width, height = shape
    places = np.arange(_SIDE) + 0.5
    down = (places - y0 - centre * unit) / (height * unit)
    across = (places - x0) / (width * unit)
    return np.asarray(down[:, None] ** 2 + across[None, :] ** 2 <= 1, np.bool_)


def _smoothed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part, without holes and thin spurs."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    contours, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    out = np.zeros_like(opened)
    if contours:
        cv2.drawContours(out, [max(contours, key=cv2.contourArea)], 0, 1, cv2.FILLED)
    return out.astype(bool)
