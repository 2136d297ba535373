"""How much a look at a face is worth, and whether the face still looks as before: by a thumbnail, not a network.

Quality is a weight in 0…1: one over the factor by which the variance of the network's error from frame to frame grows
on such a crop. Its terms are a log-linear regression of that variance on synthetic tracks of validation faces
(``benchmarks.studies.fusion_study``); flat chips do not turn their heads, so the term of the pose is an assumption,
kept mild.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeface.imaging.geometry import TEMPLATE_POINTS, similarity
from edgeface.imaging.preprocess import warp
from edgeface.inference.attributes import landmarks_of
from edgeface.types import Faces, Floats, Image

THUMB_PX = 32
"""Side of the aligned grey thumbnail."""
_EYES_PX = 0.40 * THUMB_PX
_TEMPLATE = np.asarray(TEMPLATE_POINTS) * _EYES_PX + THUMB_PX / 2
_COARSE_PX = 8
_WORST = 0.02
"""Nothing is worth less: a track of bad looks only should still have an answer."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What a frame shows of each face before any network sees it.

    ``quality`` float64 ``[N]`` in 0…1; ``thumbs`` float32 ``[N, 8, 8]``, coarse grey images of the aligned faces
    with mean 0 and length 1; ``sides_px`` float64 ``[N]`` the boxes' mean sides; ``centres`` float64 ``[N, 2]``.
    """

    quality: NDArray[np.float64]
    thumbs: Floats
    sides_px: NDArray[np.float64]
    centres: NDArray[np.float64]


def look_at(image: Image, faces: Faces) -> Looks:
    """Judge every one of ``faces`` (in ``image``'s pixels; uint8 ``[H, W, 3]`` RGB)."""
    boxes = faces.boxes.astype(np.float64)
    sides = np.sqrt(np.clip(boxes[:, 2:] - boxes[:, :2], 1, None).prod(axis=1))
    grey = [_thumbnail(image, box, points) for box, points in zip(boxes, landmarks_of(faces))]
    parts = np.stack([sides, np.array([_sharpness(picture) for picture in grey]).reshape(-1)], axis=1)
    quality = combine(parts[:, 0], parts[:, 1], frontality(faces.landmarks), faces.scores.astype(np.float64))
    thumbs = np.array([_coarse(picture) for picture in grey], np.float32).reshape(-1, _COARSE_PX, _COARSE_PX)
    return Looks(quality, thumbs, sides, (boxes[:, :2] + boxes[:, 2:]) / 2)


def likeness(thumb: Floats, other: Floats) -> float:
    """How alike two thumbnails of ``Looks`` are: their correlation, -1…1."""
    return float((thumb * other).sum())


def frontality(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 for a face seen from the front, towards 0 for a profile: ``[N, 5, 2]`` → float64 ``[N]``; NaN: 1.

    The nose's distance from the middle between the eyes and between the mouth's corners, along the line of the eyes,
    in eye distances: that is how a turn of the head shows in five points (a tilt does not, alignment undoes it).
    """
    points = landmarks.astype(np.float64)
    eyes, mouth = points[:, 1] - points[:, 0], points[:, 4] - points[:, 3]
    across = eyes + mouth
    length = np.maximum(np.hypot(across[:, 0], across[:, 1]), 1e-6)
    middle = points[:, [0, 1, 3, 4]].mean(axis=1)
    shift = np.abs(((points[:, 2] - middle) * across).sum(axis=1)) / (length**2 / 2)
    return np.asarray(np.nan_to_num(np.clip(1 - shift / 0.5, 0, 1), nan=1.0), np.float64)


def combine(
    sides_px: NDArray[np.float64],
    sharpness: NDArray[np.float64],
    frontal: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Quality of faces by their side in pixels, their sharpness, frontality and detector's score: float64 ``[N]``."""
    size = np.clip(sides_px / 64, 0, 1) ** 0.85
    sharp = np.clip(sharpness / 0.17, 0, 1) ** 2.5
    score = np.exp(-3.0 * np.clip(0.93 - scores, 0, 1))
    pose = 0.5 + 0.5 * frontal
    return np.asarray(np.clip(size * sharp * score * pose, _WORST, 1), np.float64)


def _thumbnail(image: Image, box: NDArray[np.float64], points: Floats) -> NDArray[np.float64]:
    """The aligned face in grey: float64 ``[32, 32]`` in 0…255, from the pixels around its box only."""
    import cv2

    height, width = image.shape[:2]
    margin = 0.2 * max(box[2] - box[0], box[3] - box[1])
    left, top = (int(np.clip(value - margin, 0, limit - 1)) for value, limit in zip(box[:2], (width, height)))
    right, bottom = (int(np.clip(value + margin + 1, 1, limit)) for value, limit in zip(box[2:], (width, height)))
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    grey = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), np.uint8)
    return warp(grey, similarity(points - [left, top], _TEMPLATE), THUMB_PX).astype(np.float64)


def _sharpness(grey: NDArray[np.float64]) -> float:
    """Detail of a thumbnail: how much neighbours differ from their mean, in units of its contrast (about 0…0.5)."""
    inner = grey[1:-1, 1:-1]
    around = (grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]) / 4
    detail = (inner - around).ravel()
    return float(np.sqrt(detail @ detail / detail.size) / (grey.std() + 4))


def _coarse(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """8×8 block means with mean 0 and length 1, so that light and blur matter little."""
    step = THUMB_PX // _COARSE_PX
    blocks = grey.reshape(_COARSE_PX, step, _COARSE_PX, step).mean(axis=(1, 3))
    blocks -= blocks.mean()
    return np.asarray(blocks / max(float(np.linalg.norm(blocks)), 1e-6), np.float64)
