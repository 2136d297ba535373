from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.imaging.geometry import letterbox, similarity, transform
from edgeface.imaging.preprocess import Pyramid, align, centre_crop, fit_canvas, stack, warp
from edgeface.spec.model import AlignmentSpec
from tests.golden.make import HERE, exact_crop


def golden(name: str) -> np.ndarray:
    return np.load(HERE / f"{name}.npy")


ALIGNMENT = AlignmentSpec(tuple((float(x), float(y)) for x, y in golden("template")))


def assert_same_picture(found: np.ndarray, wanted: np.ndarray) -> None:
    difference = np.abs(found.astype(int) - wanted.astype(int))
    assert difference.max() <= 2
    assert difference.mean() < 0.5


def test_alignment_reproduces_the_golden_vectors() -> None:
    assert_same_picture(align(golden("image"), golden("landmarks"), ALIGNMENT, 48), golden("crops"))


def test_golden_matrices_are_the_similarities() -> None:
    found = [similarity(face, golden("template") * 48) for face in golden("landmarks")]
    np.testing.assert_allclose(found, golden("matrices"), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(0.05, 5), st.floats(-30, 150), st.floats(-30, 150))
def test_any_similarity_matches_exact_arithmetic(turn: float, scale: float, x: float, y: float) -> None:
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.array([[c, -s, 0], [s, c, 0]])
    matrix[:, 2] = np.array([16, 16]) - matrix[:, :2] @ [x, y]
    image = golden("image")
    assert_same_picture(warp(image, matrix, 32), exact_crop(image, matrix, 32))


def test_a_point_of_the_picture_shows_where_the_matrix_says() -> None:
    image = np.zeros((90, 90, 3), np.uint8)
    image[40:43, 30:33] = 255
    matrix = np.array([[1.0, 0, -20], [0, 1, -30]])
    crop = warp(image, matrix, 32)
    np.testing.assert_allclose(transform(matrix, np.array([31.5, 41.5])), [11.5, 11.5])
    assert crop[11, 11].tolist() == [255, 255, 255] and crop[:, :, 0].sum() == 9 * 255


def test_identity_keeps_every_pixel() -> None:
    image = golden("image")[:48, :48]
    np.testing.assert_array_equal(warp(image, np.array([[1.0, 0, 0], [0, 1, 0]]), 48), image)


def test_outside_the_picture_its_edge_continues() -> None:
    image = np.full((20, 20, 3), 77, np.uint8)
    assert (warp(image, np.array([[1.0, 0, 30], [0, 1, 30]]), 16) == 77).all()


def test_faces_of_one_picture_share_its_halves() -> None:
    pyramid = Pyramid(golden("image"))
    assert pyramid.level(2)[0] is pyramid.level(2)[0]
    assert pyramid.level(2)[0].shape == (30, 40, 3)
    assert pyramid.level(50)[1] == 6  # 120 rows halve six times down to one


def test_no_faces_give_an_empty_batch() -> None:
    assert align(golden("image"), np.empty((0, 5, 2), np.float32), ALIGNMENT, 48).shape == (0, 48, 48, 3)
    assert stack([], 48).shape == (0, 48, 48, 3)
    assert stack([np.zeros((48, 48, 3), np.uint8)], 48).shape == (1, 48, 48, 3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (20, 2000, 3), (200, 200, 3), (7, 5, 3)])
def test_centre_crop_of_any_shape(shape: tuple[int, int, int]) -> None:
    image = np.full(shape, 9, np.uint8)
    crop = centre_crop(image, 112)
    assert crop.shape == (112, 112, 3) and (crop == 9).all()


def test_centre_crop_takes_the_middle() -> None:
    image = np.zeros((40, 120, 3), np.uint8)
    image[:, 40:80] = 200
    assert (centre_crop(image, 40)[:, 1:-1] == 200).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (480, 270), (20000, 20), (64, 64), (1000, 30)])
def test_fit_canvas_pads_with_black(width: int, height: int) -> None:
    fit = letterbox(width, height, 320, 32, 2.0)
    canvas = fit_canvas(np.full((height, width, 3), 50, np.uint8), fit)
    assert canvas.shape == (fit.canvas_height, fit.canvas_width, 3)
    assert (canvas[: fit.height, : fit.width] == 50).all()
    assert canvas.sum() == 50 * 3 * fit.width * fit.height
