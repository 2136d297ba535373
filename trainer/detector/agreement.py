"""How far a detector agrees with the teacher on images that neither training nor tuning has seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ArtifactError
from edgeface.imaging.postprocess import iou_matrix
from edgeface.inference.detector import FaceDetector
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import detector_spec
from edgeface.types import Faces, Floats, Image
from trainer.detector import sources
from trainer.detector.consensus import steady_landmarks
from trainer.detector.teacher import FACE_SCORE, MIN_FACE_PX, Teacher
from trainer.detector.training_images import TEACHER_FILE

MATCH_IOU = 0.5
MOVED_PX = (5, 3)  # right and down: how far an image is moved for the teacher's second look


@dataclass(frozen=True)
class Answer:
    """The teacher's faces (from score 0.3), and more landmarks float32 ``[F, 5, 2]`` of those that count.

    ``steady``: what it agrees on over many views of the face, NaN where they disagree. ``again``: what it says of the
    same image moved by ``MOVED_PX``, NaN where it does not find the face then. NaN where a face does not count.
    """

    faces: Faces
    steady: Floats
    again: Floats

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Which faces are to be found: of score 0.7 or more and at least 24 px."""
        return _counts(self.faces)


Answers = dict[str, list[tuple[Image, Answer]]]
"""Images with the teacher's answers, by part."""


def _counts(faces: Faces) -> NDArray[np.bool_]:
    sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1, initial=np.inf)
    counts: NDArray[np.bool_] = (faces.scores >= FACE_SCORE) & (sides >= MIN_FACE_PX)
    return counts


@dataclass(frozen=True)
class Agreement:
    """Counts over images; errors are fractions of the eye distance, one a matched face.

    ``landmark_errors`` are against the teacher's one look at the whole image, ``steady_errors`` against what it
    agrees on over many views of the face, where it does (``consensus``). ``teacher_errors`` are the teacher's own
    against its one look when the image is moved by a few pixels: nearer to one look than that is chance.
    """

    pictures: int = 0
    teacher_faces: int = 0
    found: int = 0
    false_alarms: int = 0
    landmark_errors: tuple[float, ...] = ()
    steady_errors: tuple[float, ...] = ()
    teacher_errors: tuple[float, ...] = ()

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
        return _mean(self.landmark_errors)

    @property
    def steady_error(self) -> float:
        """The mean over matched faces with steady landmarks."""
        return _mean(self.steady_errors)

    @property
    def teacher_error(self) -> float:
        """The mean over the matched faces that the teacher finds again."""
        return _mean(self.teacher_errors)

    def summary(self) -> dict[str, Any]:
        """Figures for JSON; what has no faces to count has ``None``."""
        names = ("recall", "precision", "landmark_error", "teacher_error", "steady_error")
        ratios = {name: getattr(self, name) for name in names}
        counts = {name: getattr(self, name) for name in ("pictures", "teacher_faces", "found", "false_alarms")}
        counts["steady_faces"] = len(self.steady_errors)
        return {**counts, **{name: None if np.isnan(value) else round(value, 4) for name, value in ratios.items()}}


def _mean(errors: tuple[float, ...]) -> float:
    return float(np.mean(errors)) if errors else float("nan")


def compare(found: Faces, teacher: Answer) -> Agreement:
    """Match one image's faces, best score first, each with the best free face of the teacher at IoU 0.5 or more.

    What matches nothing is a false alarm, unless it lies on a teacher's detection that counts neither way (score 0.3
    to 0.7, or less than 24 px).
    """
    faces, ignored = teacher.faces[teacher.counts], teacher.faces[~teacher.counts]
    steady, again = teacher.steady[teacher.counts], teacher.again[teacher.counts]
    overlap = iou_matrix(found.boxes, faces.boxes)
    excused = iou_matrix(found.boxes, ignored.boxes).max(axis=1, initial=0) >= MATCH_IOU
    pairs, false_alarms = [], 0
    for row in range(len(found)):
        best = int(overlap[row].argmax()) if len(faces) else -1
        if best >= 0 and overlap[row, best] >= MATCH_IOU:
            overlap[:, best] = -1
            pairs.append((row, best))
        elif not excused[row]:
            false_alarms += 1
    errors = tuple(_landmark_error(found.landmarks[row], faces.landmarks[best]) for row, best in pairs)
    known = [(row, best) for row, best in pairs if np.isfinite(steady[best]).all()]
    steady_errors = tuple(_landmark_error(found.landmarks[row], steady[best]) for row, best in known)
    twice = [best for _, best in pairs if np.isfinite(again[best]).all()]
    teacher_errors = tuple(_landmark_error(again[best], faces.landmarks[best]) for best in twice)
    return Agreement(1, len(faces), len(pairs), false_alarms, errors, steady_errors, teacher_errors)


def _landmark_error(found: Floats, teacher: Floats) -> float:
    """Mean distance of the five points as a fraction of the teacher's eye distance."""
    eyes = max(float(np.linalg.norm(teacher[1] - teacher[0])), 1e-6)
    return float(np.linalg.norm(found - teacher, axis=1).mean()) / eyes


def agreement(detect: Callable[[Image], Faces], answers: Iterable[tuple[Image, Answer]]) -> Agreement:
    """Agreement over images with the teacher's answers (from score 0.3)."""
    return sum((compare(detect(image), teacher) for image, teacher in answers), Agreement())


def teacher_answers(shared: str | Path, split: str) -> Answers:
    """Images and the teacher's answers at their original size, by part: ``scenes`` and every clip of ``split``.

    Boxes are clipped to the image, as ``FaceDetector`` clips its own.
    """
    teacher = Teacher(Path(shared) / TEACHER_FILE)
    scenes = sources.scenes(shared, split)
    parts: dict[str, Iterable[Image]] = {"scenes": (scenes[row] for row in range(len(scenes)))}
    parts.update({path.name: sources.frames(path) for path in sources.clips(shared, split)})
    return {name: [(image, answer_of(teacher, image)) for image in images] for name, images in parts.items()}


def answer_of(teacher: Teacher, image: Image) -> Answer:
    """The teacher's answer to one image, uint8 ``[H, W, 3]`` RGB."""
    faces = _clipped(teacher.detect(image), image)
    steady = np.full((len(faces), 5, 2), np.nan, np.float32)
    for row in np.flatnonzero(_counts(faces)):
        found = steady_landmarks(teacher, image, faces.boxes[row])
        if found is not None:
            steady[row] = found
    return Answer(faces, steady, _seen_again(teacher, image, faces))


def _seen_again(teacher: Teacher, image: Image, faces: Faces) -> Floats:
    """Landmarks of the faces that count, in the image's pixels, as the teacher sets them when it is moved."""
    (right, down), offset = MOVED_PX, np.array(MOVED_PX, np.float32)
    moved = teacher.detect(np.pad(image, ((down, 0), (right, 0), (0, 0)), mode="edge"))
    overlap = iou_matrix(faces.boxes, moved.boxes - np.tile(offset, 2))
    again = np.full((len(faces), 5, 2), np.nan, np.float32)
    for row in np.flatnonzero(_counts(faces) & (overlap.max(axis=1, initial=0) >= MATCH_IOU)):
        again[row] = moved.landmarks[overlap[row].argmax()] - offset
    return again


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


def _total(part: list[tuple[Faces, Answer]], threshold: float) -> Agreement:
    return sum((compare(found[found.scores >= threshold], teacher) for found, teacher in part), Agreement())


def report(onnx: str | Path, shared: str | Path, split: str) -> dict[str, dict[str, Any]]:
    """Figures of a detector, as its file's spec sets it up, by part and over ``all`` of them."""
    with FaceDetector(onnx, threads=1) as detect:
        parts = {name: agreement(detect, part) for name, part in teacher_answers(shared, split).items()}
    parts["all"] = sum(parts.values(), Agreement())
    return {name: part.summary() for name, part in parts.items()}
