from __future__ import annotations

import numpy as np
import pytest

from edgeface.evaluation.precropped import chip_crop, chip_landmarks
from edgeface.imaging.geometry import template
from edgeface.imaging.preprocess import centre_crop
from edgeface.spec.model import AlignmentSpec
from edgeface.types import Faces, Image

ALIGNMENT = AlignmentSpec(tuple((float(x), float(y)) for x, y in template(1, 0.4, 0.5)))
CHIP = np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype(np.uint8)


class Stub:
    """Answers every image with the same faces, placed relative to the chip inside its border."""

    def __init__(self, boxes: list[list[float]], landmarks: bool = True, only_border: int | None = None) -> None:
        self.boxes, self.landmarks, self.only_border = boxes, landmarks, only_border
        self.borders: list[int] = []

    def __call__(self, image: Image) -> Faces:
        border = (image.shape[0] - 100) // 2
        self.borders.append(border)
        if self.only_border is not None and border != self.only_border:
            return Faces.empty()
        boxes = np.array(self.boxes, np.float32).reshape(-1, 4) + border
        corners, sizes = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
        marks = corners + template(1, 0.4, 0.5).astype(np.float32) * sizes
        return Faces(boxes, np.ones(len(boxes)), marks if self.landmarks else np.full_like(marks, np.nan))


def test_landmarks_come_back_in_the_chips_pixels() -> None:
    found = chip_landmarks(Stub([[10, 10, 90, 90]]), CHIP)
    assert found is not None
    np.testing.assert_allclose(found, 10 + 80 * template(1, 0.4, 0.5), atol=1e-3)


def test_several_borders_are_tried_until_a_face_is_found() -> None:
    stub = Stub([[10, 10, 90, 90]], only_border=0)
    assert chip_landmarks(stub, CHIP) is not None
    assert stub.borders == [30, 0]


@pytest.mark.parametrize("boxes", [[], [[40, 40, 55, 55]]], ids=["no one", "someone in the background"])
def test_a_miss_falls_back_to_the_centre_square(boxes: list[list[float]]) -> None:
    crop, found = chip_crop(Stub(boxes), CHIP, ALIGNMENT, 48)
    assert not found
    np.testing.assert_array_equal(crop, centre_crop(CHIP, 48))


def test_of_several_faces_the_large_central_one_counts() -> None:
    found = chip_landmarks(Stub([[0, 0, 40, 40], [15, 15, 85, 85], [60, 60, 100, 100]]), CHIP)
    assert found is not None
    np.testing.assert_allclose(found.mean(axis=0), [50, 50], atol=5)


def test_the_crop_is_the_aligned_one() -> None:
    crop, found = chip_crop(Stub([[0, 0, 100, 100]]), CHIP, ALIGNMENT, 100)
    assert found
    np.testing.assert_array_equal(crop, CHIP)


def test_a_detector_without_landmarks_serves_by_its_box() -> None:
    crop, found = chip_crop(Stub([[10, 10, 90, 90]], landmarks=False), CHIP, ALIGNMENT, 48)
    assert found and crop.shape == (48, 48, 3)
