"""How far a detector agrees with the teacher on pictures that neither training nor tuning has seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeface.artifact import detector_spec
from edgeface.errors import ArtifactError
from edgeface.pipeline.detect import FaceDetector
from edgeface.postprocess import iou_matrix
from edgeface.runtime.base import open_backend
from edgeface.types import Faces, Floats, Image
from trainer.detector import sources
from trainer.detector.data import TEACHER_FILE
from trainer.detector.teacher import FACE_SCORE, MIN_FACE_PX, Teacher

MATCH_IOU = 0.5
Answers = dict[str, list[tuple[Image, Faces]]]
"""Pictures with the teacher's faces (from score 0.3), by part."""


@dataclass(frozen=True)
class Agreement:
    """Counts over pictures; ``landmark_errors`` are fractions of the teacher's eye distance, one a matched face."""

    pictures: int = 0
    teacher_faces: int = 0
    found: int = 0
    false_alarms: int = 0
    landmark_errors: tuple[float, ...] = ()

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))

    @property
    def recall(self) -> float:
        return self.found / self.teacher_faces if self.teacher_faces else float("nan")

    @property
    def precision(self) -> float:
        answers = self.found + self.false_alarms
        return self.found / answers if answers else float("nan")

    @property
    def landmark_error(self) -> float:
        """The mean over matched faces."""
        return float(np.mean(self.landmark_errors)) if self.landmark_errors else float("nan")

    def summary(self) -> dict[str, Any]:
        """Figures for JSON; what has no faces to count has ``None``."""
        ratios = {name: getattr(self, name) for name in ("recall", "precision", "landmark_error")}
        counts = {name: getattr(self, name) for name in ("pictures", "teacher_faces", "found", "false_alarms")}
        return {**counts, **{name: None if np.isnan(value) else round(value, 4) for name, value in ratios.items()}}


def compare(found: Faces, teacher: Faces) -> Agreement:
    """Match one picture's faces, best score first, each with the best free face of the teacher at IoU 0.5 or more.

    What matches nothing is a false alarm, unless it lies on a teacher's detection that counts neither way (score 0.3
    to 0.7, or less than 24 px).
    """
    sides = (teacher.boxes[:, 2:] - teacher.boxes[:, :2]).min(axis=1, initial=np.inf)
    counts = (teacher.scores >= FACE_SCORE) & (sides >= MIN_FACE_PX)
    faces, ignored = teacher[counts], teacher[~counts]
    overlap = iou_matrix(found.boxes, faces.boxes)
    excused = iou_matrix(found.boxes, ignored.boxes).max(axis=1, initial=0) >= MATCH_IOU
    errors, false_alarms = [], 0
    for row in range(len(found)):
        best = int(overlap[row].argmax()) if len(faces) else -1
        if best >= 0 and overlap[row, best] >= MATCH_IOU:
            overlap[:, best] = -1
            errors.append(_landmark_error(found.landmarks[row], faces.landmarks[best]))
        elif not excused[row]:
            false_alarms += 1
    return Agreement(1, len(faces), len(errors), false_alarms, tuple(errors))


def _landmark_error(found: Floats, teacher: Floats) -> float:
    """Mean distance of the five points as a fraction of the teacher's eye distance."""
    eyes = max(float(np.linalg.norm(teacher[1] - teacher[0])), 1e-6)
    return float(np.linalg.norm(found - teacher, axis=1).mean()) / eyes


def agreement(detect: Callable[[Image], Faces], answers: Iterable[tuple[Image, Faces]]) -> Agreement:
    """Agreement over pictures with the teacher's answers (from score 0.3)."""
    return sum((compare(detect(image), teacher) for image, teacher in answers), Agreement())


def teacher_answers(shared: str | Path, split: str) -> Answers:
    """Pictures and the teacher's answers at their original size, by part: ``scenes`` and every clip of ``split``.

    Boxes are clipped to the picture, as ``FaceDetector`` clips its own.
    """
    teacher = Teacher(Path(shared) / TEACHER_FILE)
    scenes = sources.scenes(shared, split)
    parts: dict[str, Iterable[Image]] = {"scenes": (scenes[row] for row in range(len(scenes)))}
    parts.update({path.name: sources.frames(path) for path in sources.clips(shared, split)})
    return {
        name: [(image, _clipped(teacher.detect(image), image)) for image in images] for name, images in parts.items()
    }


def _clipped(faces: Faces, image: Image) -> Faces:
    height, width = image.shape[:2]
    return Faces(np.clip(faces.boxes, 0, [width, height, width, height]), faces.scores, faces.landmarks)


def sweep(
    onnx: Path, answers: Answers, sizes: Iterable[tuple[int, float]], thresholds: Iterable[float]
) -> Iterator[tuple[int, float, float, dict[str, Agreement]]]:
    """Agreement by part for each ``(longest_px, upscale)`` and score threshold, to choose them by."""
    spec = detector_spec(onnx)
    if spec is None:
        raise ArtifactError(f"`{onnx}` is no detector of ours; export one: python -m trainer.detector export")
    thresholds = sorted(thresholds)
    for longest_px, upscale in sizes:
        spec = dataclasses.replace(spec, longest_px=longest_px, upscale=upscale, score_threshold=thresholds[0])
        with FaceDetector(backend=open_backend(onnx, threads=1), spec=spec) as detect:
            found = {name: [(detect(image), teacher) for image, teacher in part] for name, part in answers.items()}
        for threshold in thresholds:
            yield longest_px, upscale, threshold, {name: _total(part, threshold) for name, part in found.items()}


def _total(part: list[tuple[Faces, Faces]], threshold: float) -> Agreement:
    return sum((compare(found[found.scores >= threshold], teacher) for found, teacher in part), Agreement())


def report(onnx: str | Path, shared: str | Path, split: str) -> dict[str, dict[str, Any]]:
    """Figures of a detector, as its file's spec sets it up, by part and over ``all`` of them."""
    with FaceDetector(onnx, threads=1) as detect:
        parts = {name: agreement(detect, part) for name, part in teacher_answers(shared, split).items()}
    parts["all"] = sum(parts.values(), Agreement())
    return {name: part.summary() for name, part in parts.items()}
