"""Quality of looks: what makes a crop worth less, what makes a face look changed, and no input that breaks it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.imaging.portraits import portraits
from edgeface.inference.detector import FaceDetector
from edgeface.tracking.quality import Looks, combine, frontality, likeness, look_at
from edgeface.types import Faces, Image

FRONTAL = np.array([[[30, 40], [70, 40], [50, 60], [34, 80], [66, 80]]], np.float32)


@pytest.fixture(scope="module")
def people() -> list[tuple[Image, Faces]]:
    with FaceDetector(threads=1) as detector:
        return [(picture, detector(picture)[:1]) for picture in portraits().values()]


def quality(image: Image, faces: Faces) -> float:
    return float(look_at(image, faces).quality[0])


def scaled(faces: Faces, factor: float) -> Faces:
    return Faces(faces.boxes * factor, faces.scores, faces.landmarks * factor)


def test_blur_lowers_quality_the_more_the_worse(people: list[tuple[Image, Faces]]) -> None:
    for image, faces in people:
        side = float(np.ptp(faces.boxes[0, [0, 2]]))
        blurred = [quality(cv2.GaussianBlur(image, (0, 0), side * sigma), faces) for sigma in (0.02, 0.04, 0.08)]
        assert quality(image, faces) >= blurred[0] > blurred[1] > blurred[2] > 0
        assert blurred[1] < 0.25 * quality(image, faces)


def test_a_small_face_is_worth_less(people: list[tuple[Image, Faces]]) -> None:
    image, faces = people[0]
    factor = 24 / float(np.ptp(faces.boxes[0, [0, 2]]))
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    assert quality(small, scaled(faces, factor)) < 0.6 * quality(image, faces)


def test_light_and_contrast_leave_quality_and_likeness(people: list[tuple[Image, Faces]]) -> None:
    for image, faces in people:
        dark = (image * 0.6 + 20).astype(np.uint8)
        assert quality(dark, faces) == pytest.approx(quality(image, faces), rel=0.25)
        before, after = (look_at(picture, faces).thumbs[0] for picture in (image, dark))
        assert likeness(before, after) > 0.98


def test_the_same_face_blurred_is_more_alike_than_another_face(people: list[tuple[Image, Faces]]) -> None:
    (image, faces), (other, others) = people[:2]
    thumb = look_at(image, faces).thumbs[0]
    blurred = cv2.GaussianBlur(image, (0, 0), float(np.ptp(faces.boxes[0, [0, 2]])) * 0.04)
    assert likeness(thumb, thumb) == pytest.approx(1, abs=1e-5)
    assert likeness(thumb, look_at(blurred, faces).thumbs[0]) > 0.9 > likeness(thumb, look_at(other, others).thumbs[0])


def test_a_turned_head_is_less_frontal_a_tilted_one_is_not() -> None:
    turned = FRONTAL.copy()
    turned[0, 2, 0] += 14
    angle = np.deg2rad(30)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert frontality(FRONTAL)[0] == pytest.approx(1, abs=1e-6)
    assert frontality(FRONTAL @ tilt.T)[0] == pytest.approx(1, abs=1e-3)
    assert frontality(turned)[0] < 0.4
    assert frontality(np.full((1, 5, 2), np.nan))[0] == 1, "a detector without landmarks says nothing of the pose"


@given(st.tuples(st.floats(1, 500), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), st.integers(0, 3))
def test_quality_is_a_weight_and_grows_with_every_part(parts: tuple[float, ...], better: int) -> None:
    arrays = [np.array([value, value]) for value in parts]
    arrays[better][1] = arrays[better][1] * 1.5 + 0.1
    low, high = combine(*arrays)
    assert 0 < low <= high <= 1


coordinate = st.floats(-200, 400, width=32)


@settings(max_examples=60)
@given(st.lists(coordinate, min_size=14, max_size=14), st.integers(1, 80), st.integers(1, 80))
def test_any_box_and_landmarks_have_a_quality(numbers: list[float], width: int, height: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
    left, top, wide, high = numbers[:4]
    box = [left, top, left + 1 + abs(wide), top + 1 + abs(high)]
    faces = Faces([box], [0.9], np.reshape(numbers[4:], (1, 5, 2)))
    looks = look_at(image, faces)
    assert 0 < looks.quality[0] <= 1 and np.isfinite(looks.thumbs).all() and looks.sides_px[0] >= 1


def test_no_faces_no_looks() -> None:
    looks: Looks = look_at(np.zeros((4, 4, 3), np.uint8), Faces.empty())
    assert looks.quality.shape == (0,) and looks.thumbs.shape == (0, 8, 8) and looks.centres.shape == (0, 2)


def test_the_detectors_score_and_the_size_count(people: list[tuple[Image, Faces]]) -> None:
    """The same pixels: a lower score, or a smaller box around them, makes the observation count for less."""
    image, faces = people[0]
    full = quality(image, faces)
    doubtful = Faces(faces.boxes, np.full(1, 0.53, np.float32), faces.landmarks)
    sure = Faces(faces.boxes, np.full(1, 0.93, np.float32), faces.landmarks)
    assert quality(image, doubtful) == pytest.approx(quality(image, sure) * np.exp(-3 * 0.4), rel=0.02)
    middle = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    tiny = np.concatenate([middle - 8, middle + 8], axis=1).astype(np.float32)
    small = quality(image, Faces(tiny, faces.scores, faces.landmarks))
    assert small <= max(0.02, (16 / 64) ** 0.85 * full * 1.6) and small < 0.6 * full


def test_quality_by_hand() -> None:
    """A sharp frontal face of the best score counts by its size alone; each part by its own factor."""

    def of(side: float, sharpness: float, frontal: float, score: float) -> float:
        return float(combine(*(np.array([part], np.float64) for part in (side, sharpness, frontal, score)))[0])

    assert of(64, 0.17, 1, 0.93) == of(300, 0.4, 1, 0.99) == 1
    assert of(32, 0.17, 1, 0.93) == pytest.approx(0.5**0.85)
    assert of(64, 0.085, 1, 0.93) == pytest.approx(0.5**2.5)
    assert of(64, 0.17, 0, 0.93) == pytest.approx(0.5)
    assert of(64, 0.17, 1, 0.73) == pytest.approx(np.exp(-0.6))
