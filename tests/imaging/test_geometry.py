from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.imaging import geometry

POINTS = geometry.template(112, 0.35, 0.5)
coordinates = st.floats(-500, 500)


def similarity_matrix(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


@given(st.floats(-3.1, 3.1), st.floats(0.05, 20), coordinates, coordinates)
def test_similarity_recovers_an_exact_one(angle: float, scale: float, x: float, y: float) -> None:
    truth = similarity_matrix(angle, scale, x, y)
    found = geometry.similarity(POINTS, geometry.transform(truth, POINTS))
    np.testing.assert_allclose(found, truth, atol=1e-6)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=5, max_size=5), st.floats(-0.2, 0.2), st.floats(0.9, 1.1))
def test_similarity_is_the_least_squares_one(points: list[tuple[float, float]], turn: float, grow: float) -> None:
    source = np.array(points)
    if np.ptp(source, axis=0).max() < 1:
        return
    best = geometry.similarity(source, POINTS)

    def error(matrix: np.ndarray) -> float:
        return float(np.sum((geometry.transform(matrix, source) - POINTS) ** 2))

    other = best.copy()
    other[:, :2] = similarity_matrix(turn, grow, 0, 0)[:, :2] @ best[:, :2]
    other[:, 2] = POINTS.mean(0) - other[:, :2] @ source.mean(0)
    assert error(best) <= error(other) * (1 + 1e-9) + 1e-6


def test_similarity_never_mirrors() -> None:
    mirrored = POINTS * [-1, 1]
    assert np.linalg.det(geometry.similarity(mirrored, POINTS)[:, :2]) >= 0


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_degenerate_landmarks_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="five finite points"):
        geometry.similarity(points, POINTS)


@given(st.floats(-3.1, 3.1), st.floats(0.05, 20), coordinates, coordinates)
def test_invert_undoes(angle: float, scale: float, x: float, y: float) -> None:
    matrix = similarity_matrix(angle, scale, x, y)
    back = geometry.transform(geometry.invert(matrix), geometry.transform(matrix, POINTS))
    np.testing.assert_allclose(back, POINTS, atol=1e-6)


def test_template_has_the_asked_eye_distance_and_is_centred() -> None:
    points = geometry.template(100, 0.4, 0.5)
    assert np.linalg.norm(points[1] - points[0]) == pytest.approx(40, abs=0.5)
    assert points[:2, 0].mean() == pytest.approx(50, abs=0.5)


@pytest.mark.parametrize(("width", "height"), [(200, 100), (100, 200), (64, 64), (1, 1)])
def test_centre_square_covers_the_short_side(width: int, height: int) -> None:
    matrix = geometry.centre_square(width, height, 96)
    side = min(width, height)
    corner = [(width - side) / 2, (height - side) / 2]
    np.testing.assert_allclose(geometry.transform(matrix, np.array(corner)), [0, 0], atol=1e-9)
    np.testing.assert_allclose(geometry.transform(matrix, np.array(corner) + side), [96, 96], atol=1e-9)


@given(st.integers(1, 20000), st.integers(1, 20000), st.integers(32, 1280), st.floats(1, 4))
def test_letterbox_fits_and_undoes(width: int, height: int, longest: int, upscale: float) -> None:
    fit = geometry.letterbox(width, height, longest, 32, upscale)
    assert max(fit.width, fit.height) <= longest
    assert fit.canvas_width % 32 == 0 and 0 <= fit.canvas_width - fit.width < 32
    assert fit.canvas_height % 32 == 0 and 0 <= fit.canvas_height - fit.height < 32
    corners = fit.to_image(np.array([[0, 0], [fit.width, fit.height]]))
    np.testing.assert_allclose(corners, [[0, 0], [width, height]], rtol=1e-5)


def test_letterbox_leaves_small_pictures_alone_by_default() -> None:
    fit = geometry.letterbox(100, 50, 640)
    assert (fit.width, fit.height, fit.canvas_width, fit.canvas_height) == (100, 50, 128, 64)
