"""Steady landmarks: the median of the teacher's landmarks over many views of one face.

YuNet's landmarks are good on upright faces. It sees that a head leans only where the face is large (180 px and more,
and then about half of it); on smaller faces it sets the eyes level whatever the head does. So each face is first
enlarged and turned until it stands upright, then shown again in several upright views, also mirrored.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from edgeface.types import Floats, Image
from trainer.detector.marked import MIRRORED
from trainer.detector.teacher import Teacher

_LARGE, _SMALL = (320, 180.0), (160, 80.0)
"""Side of a view and of the face in it, in pixels: large enough to see it lean; cheap."""
_TURNS, _UPRIGHT_DEG = 5, 4.0  # how often to turn on, and the roll that ends it
_REFINE_DEG = (-8.0, 0.0, 8.0)
_SCORE = 0.5
_FEWEST = 4  # views
_SPREAD_FRAC = 0.15  # of the eye distance: views that lie farther from their median agree on nothing


def steady_landmarks(teacher: Teacher, image: Image, box: Floats) -> Floats | None:
    """Five landmarks float32 ``[5, 2]`` of the face in ``box`` (xyxy pixels); ``None`` where views disagree."""
    lean, middle = 0.0, (box[:2] + box[2:]) / 2
    reach = (box[2:] - box[:2]).max() / 2
    for _ in range(_TURNS):
        answers = _views(teacher, image, np.concatenate([middle - reach, middle + reach]), [-lean], _LARGE)
        if not answers:
            return None
        marks = np.mean(answers, axis=0)
        middle, residual = marks.mean(axis=0), (_roll(marks) - lean + 180) % 360 - 180
        lean += residual
        if abs(residual) < _UPRIGHT_DEG:
            break
    turns = [-lean + turn for turn in _REFINE_DEG]
    answers = _views(teacher, image, np.concatenate([middle - reach, middle + reach]), turns, _SMALL)
    if len(answers) < _FEWEST:
        return None
    marks = np.median(answers, axis=0).astype(np.float32)
    spread = np.linalg.norm(np.array(answers) - marks, axis=2).mean()
    return marks if spread <= _SPREAD_FRAC * np.linalg.norm(marks[1] - marks[0]) else None


def _views(
    teacher: Teacher, image: Image, box: Floats, angles: Iterable[float], size: tuple[int, float]
) -> list[Floats]:
    """Landmarks in the image's pixels, one of each view in which a face stands in the middle."""
    answers, (canvas_px, face_px) = [], size
    for angle in angles:
        for mirrored in (False, True):
            matrix = _matrix(box, angle, mirrored, size)
            faces = teacher.detect(_warp(image, matrix, canvas_px), _SCORE)
            distances = np.linalg.norm(faces.boxes[:, :2] + faces.boxes[:, 2:] - canvas_px, axis=1) / 2
            if len(faces) and distances.min() <= 0.4 * face_px:
                marks = faces.landmarks[distances.argmin()]
                back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
                placed = marks @ back[:2, :2].T + back[:2, 2]
                answers.append(placed[list(MIRRORED)] if mirrored else placed)
    return answers


def _roll(marks: Floats) -> float:
    """Degrees by which the line of the eyes falls to the right."""
    across = marks[1] - marks[0]
    return float(np.degrees(np.arctan2(across[1], across[0])))


def _matrix(box: Floats, angle_deg: float, mirrored: bool, size: tuple[int, float]) -> np.ndarray:
    """Image to view: the box's middle in the middle, the face as large as ``size`` says, turned, mirrored."""
    canvas_px, face_px = size
    turn, scale = np.deg2rad(angle_deg), face_px / max(float((box[2:] - box[:2]).max()), 1.0)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if mirrored:
        linear[0] *= -1
    return np.column_stack([linear, canvas_px / 2 - linear @ ((box[:2] + box[2:]) / 2)])


def _warp(image: Image, matrix: np.ndarray, canvas_px: int) -> Image:
    """The view; OpenCV counts from pixel centres, ``matrix`` from the corner."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.5:  # average first what linear interpolation would skip
        image = np.asarray(cv2.resize(image, None, fx=(f := 2 * scale), fy=f, interpolation=cv2.INTER_AREA), np.uint8)
        matrix = np.column_stack([matrix[:, :2] / f, matrix[:, 2]])
    shifted = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ [0.5, 0.5] - 0.5])
    view = cv2.warpAffine(image, shifted, (canvas_px, canvas_px), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(view, np.uint8)
