"""The teacher: YuNet of OpenCV Zoo (MIT; Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import DataError
from edgeface.imaging.postprocess import iou_matrix, nms
from edgeface.runtime.open import open_backend
from edgeface.types import Faces, Floats, Image

STRIDES = (8, 16, 32)
_SHARPNESS = 6.0  # exponent of a cell's score in the weight of box and landmarks
_NEAR_FRAC, _EXTENT_FRAC = 0.25, (0.25, 0.85)  # of a box's longer side: known landmarks that belong to it
NMS_IOU = 0.3  # OpenCV's default for this network
FACE_SCORE, IGNORE_SCORE = 0.7, 0.3  # a face from 0.7, in between a detection counts neither way
MIN_FACE_PX = 24  # shorter side of a box below which a detection counts neither way


@dataclass(frozen=True, eq=False)
class DenseFaces:
    """What the teacher says at every cell, strides ascending, row by row (A cells).

    ``scores`` float32 ``[A]``; ``boxes`` float32 ``[A, 4]`` xyxy pixels; ``landmarks`` float32 ``[A, 5, 2]`` pixels.
    """

    scores: Floats
    boxes: Floats
    landmarks: Floats

    def faces(self, threshold: float) -> Faces:
        """The cells at or above ``threshold`` after non-maximum suppression."""
        picked = np.flatnonzero(self.scores >= threshold)
        return nms(Faces(self.boxes[picked], self.scores[picked], self.landmarks[picked]), NMS_IOU)


class Teacher:
    """YuNet's ONNX file on one thread."""

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise DataError(f"no teacher at `{path}`, expected OpenCV Zoo's YuNet as an ONNX file; set `shared`")
        self._backend = open_backend(path, threads=1)

    def dense(self, image: Image) -> DenseFaces:
        """The maps for uint8 ``[H, W, 3]`` RGB, which is padded with zeros to whole multiples of 32."""
        height, width = (-(-side // 32) * 32 for side in image.shape[:2])
        feed = np.zeros((1, 3, height, width), np.float32)
        feed[0, :, : image.shape[0], : image.shape[1]] = image[:, :, ::-1].transpose(2, 0, 1)
        maps = self._backend.infer({"input": feed})
        levels = (_decode(maps, stride, width, height) for stride in STRIDES)
        return DenseFaces(*(np.concatenate(parts) for parts in zip(*levels)))

    def detect(self, image: Image, threshold: float = IGNORE_SCORE) -> Faces:
        """Faces of an image, best first, in its pixels."""
        return self.dense(image).faces(threshold)


def _decode(maps: Mapping[str, Floats], stride: int, width: int, height: int) -> tuple[Floats, Floats, Floats]:
    """Scores, boxes and landmarks of one stride; YuNet counts from the upper left corner of a cell."""
    columns, rows = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
    corner = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32) * stride
    score = np.sqrt(np.clip(maps[f"cls_{stride}"], 0, 1) * np.clip(maps[f"obj_{stride}"], 0, 1))[0, :, 0]
    raw = maps[f"bbox_{stride}"][0]
    centre, half = corner + raw[:, :2] * stride, np.exp(raw[:, 2:]) * (stride / 2)
    landmarks = corner[:, None] + maps[f"kps_{stride}"][0].reshape(-1, 5, 2) * stride
    return score, np.concatenate([centre - half, centre + half], axis=1), landmarks


@dataclass(frozen=True, eq=False)
class Targets:
    """What the student learns at each of its A cells, from the teacher's answer to the same image.

    ``scores`` float32 ``[A]`` 0...1; ``boxes`` float32 ``[A, 4]`` xyxy pixels; ``landmarks`` float32 ``[A, 10]``
    pixels; ``weights`` and ``mark_weights`` float32 ``[A]``, above 0 where box and landmarks are to be learnt.
    """

    scores: Floats
    boxes: Floats
    landmarks: Floats
    weights: Floats
    mark_weights: Floats
    care: Floats


def targets(dense: DenseFaces, marks: Floats) -> Targets:
    """Distil the teacher cell by cell; ``marks`` float32 ``[K, 5, 2]`` are the landmarks known beforehand.

    The score is the teacher's own (a soft label: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015),
    which settles assignment, ignored faces and hard negatives at once. The box is that of the face that survives
    suppression, shared by all cells that voted for it, so that neighbouring cells agree; the surest cells weigh most by
    far. Landmarks are the known ones of that face; without any, none are learnt there.
    """
    weights, mark_weights = np.zeros_like(dense.scores), np.zeros_like(dense.scores)
    boxes, landmarks = np.zeros_like(dense.boxes), np.zeros((len(weights), 10), np.float32)
    kept = dense.faces(IGNORE_SCORE)
    voters = np.flatnonzero(dense.scores >= IGNORE_SCORE)
    if len(kept):
        overlap = iou_matrix(dense.boxes[voters], kept.boxes)
        owner = overlap.argmax(axis=1)
        voters, owner = voters[overlap.max(axis=1) > NMS_IOU], owner[overlap.max(axis=1) > NMS_IOU]
        known, sure = _known_landmarks(kept, marks)
        weights[voters] = dense.scores[voters] ** _SHARPNESS
        mark_weights[voters] = weights[voters] * sure[owner]
        boxes[voters], landmarks[voters] = kept.boxes[owner], known[owner].reshape(-1, 10)
    return Targets(dense.scores, boxes, landmarks, weights, mark_weights, np.ones_like(weights))


def _known_landmarks(faces: Faces, marks: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """For each face the ``marks`` nearest to its middle, and whether they fit its place and size."""
    if not len(marks):
        return np.zeros_like(faces.landmarks), np.zeros(len(faces), bool)
    middles, sides = (
        (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2,
        (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(axis=1),
    )
    distances = np.linalg.norm(middles[:, None] - marks.mean(axis=1)[None], axis=2)
    nearest = distances.argmin(axis=1)
    extents = np.ptp(marks, axis=1).max(axis=1)[nearest] / sides
    fits = (distances.min(axis=1) <= _NEAR_FRAC * sides) & (extents > _EXTENT_FRAC[0]) & (extents < _EXTENT_FRAC[1])
    return marks[nearest], fits
