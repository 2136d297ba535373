"""The shipped detector against its teacher, on a sample of images it was not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.inference.detector import FaceDetector, shipped_model
from edgeface.spec.metadata import detector_spec
from edgeface.types import Image
from trainer.detector import sources
from trainer.detector.agreement import Answer, agreement, answer_of
from trainer.detector.teacher import Teacher
from trainer.detector.training_images import TEACHER_FILE


def test_shipped_detector_keeps_its_budget() -> None:
    spec = detector_spec(shipped_model("detector.onnx"))
    assert spec is not None and spec.training["parameters"] <= 250_000


def test_shipped_detector_agrees_with_its_teacher_on_test_clips(shared: Path) -> None:
    teacher = Teacher(shared / TEACHER_FILE)
    answers: list[tuple[Image, Answer]] = [
        (frame, answer_of(teacher, frame))
        for clip in sources.clips(shared, "test")
        for index, frame in enumerate(sources.frames(clip))
        if index % 8 == 0
    ]
    with FaceDetector(threads=1) as detect:
        result = agreement(detect, answers)
    assert result.teacher_faces > 20
    assert result.recall >= 0.9 and result.precision >= 0.9
    assert result.landmark_error < 1.5 * result.teacher_error  # about as near as the teacher is to itself
