"""Decoding and suppression of the kernels' host build: exactly what ``FaceDetector`` answers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.imaging.geometry import Letterbox, letterbox
from edgeface.imaging.postprocess import iou_matrix
from edgeface.inference.detector import FaceDetector
from edgeface.runtime.base import TensorInfo
from edgeface.runtime.fake import FakeBackend
from edgeface.spec.model import DetectorSpec
from edgeface.types import Faces
from tests.cuda import native

STRIDES = (8, 16, 32)
Maps = tuple[np.ndarray, np.ndarray, np.ndarray]


def maps_of(fit: Letterbox, seed: int, share: float) -> Maps:
    """Random maps in which about ``share`` of the anchors are candidates, with many equal scores."""
    rng = np.random.default_rng(seed)
    count = sum((fit.canvas_width // s) * (fit.canvas_height // s) for s in STRIDES)
    score = np.round(rng.random(count) ** (np.log(0.5) / np.log(1 - share)), 2).astype(np.float32)
    box = rng.uniform(-0.5, 4, (count, 4)).astype(np.float32)
    return score, box, rng.uniform(-4, 4, (count, 10)).astype(np.float32)


def detector(maps: Maps, spec: DetectorSpec) -> FaceDetector:
    """The Python path with these maps in place of a network."""
    names = ("score", "box", "landmarks")
    infos = [TensorInfo(name, np.dtype("float32"), (None, None, *part.shape[1:])) for name, part in zip(names, maps)]
    image = TensorInfo("image", np.dtype("uint8"), (None, None, None, 3))
    answers = {name: part[None] for name, part in zip(names, maps)}
    return FaceDetector(backend=FakeBackend([image], infos, lambda feed: answers), spec=spec)


def assert_same(found: Faces, wanted: Faces) -> None:
    np.testing.assert_array_equal(found.scores, wanted.scores)
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.landmarks, wanted.landmarks)


@settings(max_examples=150)
@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    threshold=st.floats(0.05, 1),
    iou=st.floats(0, 1),
    share=st.floats(0.001, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_faces_are_the_same(width: int, height: int, threshold: float, iou: float, share: float, seed: int) -> None:
    spec = DetectorSpec("random", longest_px=160, score_threshold=threshold, nms_iou=iou)
    fit = letterbox(width, height, spec.longest_px, spec.multiple, spec.upscale)
    maps = maps_of(fit, seed, share)
    wanted = detector(maps, spec)(np.zeros((height, width, 3), np.uint8))
    found, count = native.find_faces(maps, STRIDES, threshold, iou, 1000, fit, (width, height))
    assert count == len(wanted)
    assert_same(found, wanted)


def test_more_candidates_than_the_limit_count() -> None:
    fit = letterbox(640, 480, 640, 32)
    maps = maps_of(fit, 1, 0.9)
    wanted = detector(maps, DetectorSpec("random", score_threshold=0.3))(np.zeros((480, 640, 3), np.uint8))
    found, count = native.find_faces(maps, STRIDES, 0.3, 0.4, 1000, fit, (640, 480))
    assert count == len(wanted) > 50
    assert_same(found, wanted)


def test_a_full_table_still_counts() -> None:
    fit = letterbox(640, 480, 640, 32)
    maps = maps_of(fit, 1, 0.9)
    every, count = native.find_faces(maps, STRIDES, 0.3, 0.4, 1000, fit, (640, 480))
    found, same_count = native.find_faces(maps, STRIDES, 0.3, 0.4, 1000, fit, (640, 480), capacity=7)
    assert same_count == count > 7
    assert_same(found, every[:7])


def test_nothing_is_found_where_scores_are_no_numbers() -> None:
    fit = letterbox(64, 64, 64, 32)
    score, box, landmarks = maps_of(fit, 2, 0.5)
    found, count = native.find_faces((score * np.nan, box, landmarks), STRIDES, 0.1, 0.4, 1000, fit, (64, 64))
    assert count == len(found) == 0


box = st.lists(st.integers(-40, 40), min_size=4, max_size=4).map(lambda values: np.array(values, np.float32) / 4)


@given(box, box)
def test_iou_is_the_same(first: np.ndarray, second: np.ndarray) -> None:
    assert native.iou(first, second) == iou_matrix(first[None], second[None])[0, 0]
