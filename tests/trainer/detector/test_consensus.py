"""Landmarks by consensus: they follow a turned head, hold still, and are absent where there is no face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.imaging.image_io import read_image
from edgeface.types import Image
from tests.conftest import ROOT
from trainer.detector.consensus import steady_landmarks
from trainer.detector.marked import moved
from trainer.detector.teacher import Teacher
from trainer.detector.training_images import TEACHER_FILE


@pytest.fixture(scope="module")
def teacher(shared: Path) -> Teacher:
    return Teacher(shared / TEACHER_FILE)


@pytest.fixture(scope="module")
def portrait() -> Image:
    path = next(p for p in sorted((ROOT / "edgeface" / "assets" / "photos").iterdir()) if p.suffix == ".jpg")
    return read_image(path)


def face_box(teacher: Teacher, image: Image) -> np.ndarray:
    return teacher.detect(image, 0.5).boxes[0]


def eye_distance(marks: np.ndarray) -> float:
    return float(np.linalg.norm(marks[1] - marks[0]))


@pytest.mark.parametrize("degrees", [-35, 20, 35])
def test_landmarks_follow_a_head_that_leans(teacher: Teacher, portrait: Image, degrees: float) -> None:
    box = face_box(teacher, portrait)
    upright = steady_landmarks(teacher, portrait, box)
    assert upright is not None
    matrix = cv2.getRotationMatrix2D(tuple((box[:2] + box[2:]).astype(float) / 2), degrees, 1.0)
    turned = cv2.warpAffine(portrait, matrix, portrait.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    found = steady_landmarks(teacher, turned, box)
    assert found is not None
    drift = np.linalg.norm(found - moved(upright, matrix), axis=1).mean()
    assert drift <= 0.06 * eye_distance(upright)


def test_landmarks_hold_still_where_the_box_is_off(teacher: Teacher, portrait: Image) -> None:
    box = face_box(teacher, portrait)
    marks = [steady_landmarks(teacher, portrait, box + shift * (box[2] - box[0])) for shift in (0.0, 0.08)]
    assert marks[0] is not None and marks[1] is not None
    assert np.linalg.norm(marks[0] - marks[1], axis=1).mean() <= 0.05 * eye_distance(marks[0])


def test_what_is_no_face_has_no_landmarks(teacher: Teacher) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    assert steady_landmarks(teacher, noise, np.array([50, 50, 150, 150], np.float32)) is None
