"""Colour, letterbox and crops of the kernels' host build against NumPy, OpenCV and the golden vectors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.imaging.geometry import letterbox, similarity, template
from edgeface.imaging.preprocess import align, fit_canvas
from edgeface.spec.model import AlignmentSpec
from edgeface.types import Faces
from tests.cuda import native
from tests.golden.make import HERE, SIZE, exact_crop

BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)


def golden(name: str) -> np.ndarray:
    return np.load(HERE / f"{name}.npy")


def picture(width: int, height: int, padding: int = 0, seed: int = 0) -> np.ndarray:
    """Noise on a gradient, in rows that are ``padding`` bytes longer than they need be."""
    rng = np.random.default_rng([seed, width, height])
    rows = rng.integers(0, 256, (height, 3 * width + padding), np.uint8)
    image = np.lib.stride_tricks.as_strided(rows, (height, width, 3), (rows.strides[0], 3, 1))
    smooth = np.linspace(0, 255, width)[None, :, None] * np.linspace(0.3, 1, height)[:, None, None]
    image[...] = (0.7 * smooth + 0.3 * image).astype(np.uint8)
    return image


def faces_at(landmarks: np.ndarray) -> Faces:
    corners = np.concatenate([landmarks.min(axis=1), landmarks.max(axis=1)], axis=1)
    return Faces(corners, np.ones(len(landmarks)), landmarks)


def rgb_by_definition(luma: np.ndarray, chroma: np.ndarray, weights: tuple[float, float], full: bool) -> np.ndarray:
    """ITU-R BT.601 / BT.709 in float64: Y = kr R + kg G + kb B, Cb = (B - Y) / 2 (1 - kb), Cr alike, solved for RGB."""
    kr, kb = weights
    height, width = luma.shape
    cb, cr = (np.repeat(np.repeat(chroma[..., c], 2, 0), 2, 1)[:height, :width].astype(float) for c in (0, 1))
    y = luma.astype(float) / 255 if full else (luma.astype(float) - 16) / 219
    cb, cr = ((plane - 128) / (255 if full else 224) for plane in (cb, cr))
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(255 * np.stack([red, green, blue], axis=-1), 0, 255)


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    padding=st.integers(0, 7),
    weights=st.sampled_from([BT601, BT709]),
    full=st.booleans(),
)
def test_nv12_becomes_rgb(width: int, height: int, padding: int, weights: tuple[float, float], full: bool) -> None:
    rng = np.random.default_rng([width, height])
    luma = rng.integers(0, 256, (height, width + padding), np.uint8)[:, :width]
    half = (height + 1) // 2, (width + 1) // 2
    chroma = np.zeros((half[0], 2 * half[1] + padding), np.uint8)
    chroma[...] = rng.integers(0, 256, chroma.shape)
    chroma = np.lib.stride_tricks.as_strided(chroma, (*half, 2), (chroma.strides[0], 2, 1))
    out = np.zeros((height, width, 3), np.uint8)
    native.rgb_from_nv12(luma, chroma, weights, full, out)
    assert np.abs(out - rgb_by_definition(luma, chroma, weights, full)).max() <= 0.5 + 1e-3


def test_nv12_black_white_and_red() -> None:
    luma = np.array([[16, 235, 81]], np.uint8)
    chroma = np.array([[[128, 128], [90, 240]]], np.uint8)
    out = np.zeros((1, 3, 3), np.uint8)
    native.rgb_from_nv12(luma, chroma, BT601, False, out)
    assert out.tolist() == [[[0, 0, 0], [255, 255, 255], [254, 0, 0]]]


@given(width=st.integers(1, 40), height=st.integers(1, 40), padding=st.integers(0, 7))
def test_bgr_becomes_rgb(width: int, height: int, padding: int) -> None:
    image = picture(width, height, padding)
    wanted = image[..., ::-1].copy()
    out = np.zeros((height, width, 3), np.uint8)
    native.rgb_from_bgr(image, out)
    np.testing.assert_array_equal(out, wanted)
    native.rgb_from_bgr(image, image)
    np.testing.assert_array_equal(image, wanted)


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    longest=st.integers(32, 2000),
    multiple=st.sampled_from([1, 16, 32]),
    upscale=st.floats(1, 4),
)
def test_letterbox_is_the_same(width: int, height: int, longest: int, multiple: int, upscale: float) -> None:
    found = native.letterbox(width, height, longest, multiple, upscale)
    assert found == letterbox(width, height, longest, multiple, upscale)


@settings(max_examples=200)
@given(width=st.integers(1, 300), height=st.integers(1, 300), longest=st.integers(32, 160), padding=st.integers(0, 7))
def test_canvas_is_the_same(width: int, height: int, longest: int, padding: int) -> None:
    image = picture(width, height, padding)
    fit = letterbox(width, height, longest, 32, 2.0)
    found, wanted = native.fit_canvas(image, fit).astype(int), fit_canvas(image, fit).astype(int)
    assert np.abs(found - wanted).max() <= 1
    np.testing.assert_array_equal(native.fit_canvas_pixel_by_pixel(image, fit), found)
    assert not found[fit.height :].any() and not found[:, fit.width :].any()


@pytest.mark.parametrize(
    ("width", "height", "share"),
    [(1280, 720, 0), (1920, 1080, 0.01), (640, 480, 0), (1279, 719, 0.01), (320, 240, 0.12)],
)
def test_canvas_of_common_sizes_is_hardly_different(width: int, height: int, share: float) -> None:
    """``share`` of the values may differ; where OpenCV enlarges, its fixed-point sums lose their last bits."""
    image = picture(width, height)
    fit = letterbox(width, height, 640, 32, 2.0)
    found, wanted = native.fit_canvas(image, fit).astype(int), fit_canvas(image, fit).astype(int)
    assert np.abs(found - wanted).max() <= 1
    assert (found != wanted).mean() <= share


def test_similarity_of_the_golden_vectors() -> None:
    for landmarks, matrix in zip(golden("landmarks"), golden("matrices")):
        found = native.similarity(landmarks, golden("template") * SIZE)
        np.testing.assert_allclose(found, matrix, rtol=1e-12, atol=1e-9)


@given(st.lists(st.floats(-1e4, 1e4), min_size=10, max_size=10), st.floats(0.01, 100), st.floats(-math.pi, math.pi))
def test_similarity_is_the_same(values: list[float], scale: float, turn: float) -> None:
    source = np.reshape(values, (5, 2))
    target = template(112, 0.4, 0.5)
    found = native.similarity(source, target)
    if np.ptp(source, axis=0).max() < 1e-3:
        assert found is None or np.isfinite(found).all()
        return
    assert found is not None
    np.testing.assert_allclose(found, similarity(source, target), rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_similarity_refuses_points_that_are_not_finite(value: float) -> None:
    source = template(112, 0.4, 0.5)
    source[3, 1] = value
    assert native.similarity(source, template(112, 0.4, 0.5)) is None
    assert native.similarity(np.ones((5, 2)), template(112, 0.4, 0.5)) is None


def test_crops_of_the_golden_vectors() -> None:
    crops = native.crop_faces(golden("image"), faces_at(golden("landmarks")), golden("template") * SIZE, SIZE)
    difference = np.abs(crops.astype(int) - golden("crops"))
    assert difference.max() <= 2  # the vectors round a half's ties to even, the preprocess rounds them up
    assert np.quantile(difference, 0.99) <= 1 and difference.mean() < 0.1


@settings(max_examples=150)
@given(
    width=st.integers(2, 200),
    height=st.integers(2, 200),
    padding=st.integers(0, 7),
    x=st.floats(-0.3, 1.3),
    y=st.floats(-0.3, 1.3),
    side=st.floats(10, 600),
    turn=st.floats(-math.pi, math.pi),
    size=st.sampled_from([16, 31, 64]),
)
def test_crops_are_exact(
    width: int, height: int, padding: int, x: float, y: float, side: float, turn: float, size: int
) -> None:
    image = picture(width, height, padding)
    target = template(size, 0.4, 0.5)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    points = (side * (template(1, 0.4, 0.5) - 0.5) @ rotation.T + [x * width, y * height]).astype(np.float32)
    (found,) = native.crop_faces(image, faces_at(points[None]), target, size).astype(int)
    wanted = exact_crop(image, similarity(points, target), size)
    difference = np.abs(found - wanted)
    assert np.quantile(difference, 0.99) <= 1
    assert difference.max() <= 2
    opencv = align(image, points[None], AlignmentSpec(tuple(map(tuple, target / size))), size)[0]
    assert np.quantile(np.abs(found - opencv), 0.99) <= 1


def test_a_face_far_outside_shows_the_edge() -> None:
    image = picture(50, 40)
    points = template(30, 0.4, 0.5) + [1e9, 20]
    (crop,) = native.crop_faces(image, faces_at(points[None]), template(16, 0.4, 0.5), 16)
    assert (crop.max(axis=1) == crop.min(axis=1)).all()


def test_a_face_without_landmarks_is_aligned_by_its_box() -> None:
    from edgeface.inference.attributes import landmarks_of

    image, target = picture(200, 150), template(48, 0.4, 0.5)
    boxes = np.array([[20, 10, 90, 100], [50.5, 30.25, 120, 140]], np.float32)
    bare = Faces(boxes, np.ones(2), np.full((2, 5, 2), np.nan))
    together = Faces(boxes, np.ones(2), np.full((2, 5, 2), 33.0))
    wanted = align(image, landmarks_of(bare), AlignmentSpec(tuple(map(tuple, target / 48))), 48)
    for faces in (bare, together):
        found = native.crop_faces(image, faces, target, 48)
        assert np.quantile(np.abs(found.astype(int) - wanted), 0.99) <= 1
