from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import ConfigError, ImageError, SpecError
from edgeface.inference.attributes import LANDMARKS_IN_BOX, AttributeEstimator, landmarks_of
from edgeface.runtime.base import Feed, TensorInfo
from edgeface.runtime.fake import FakeBackend
from edgeface.types import Faces
from tests.fixtures import SIZE, tiny_detector, tiny_model, tiny_spec, write_tiny_model  # noqa: F401

FLOAT = np.dtype(np.float32)
CROPS = TensorInfo("crops", np.dtype(np.uint8), (None, SIZE, SIZE, 3))
OUTPUTS = [
    TensorInfo("age", FLOAT, (None,)),
    TensorInfo("age_std", FLOAT, (None,)),
    TensorInfo("gender", FLOAT, (None, 2)),
    TensorInfo("race", FLOAT, (None, 5)),
]


def first_pixel_as_age(feed: Feed) -> dict[str, np.ndarray]:
    crops = feed["crops"]
    count = len(crops)
    age = crops[:, 0, 0, 0].astype(np.float32)
    return {"age": age, "age_std": age / 10, "gender": np.zeros((count, 2)), "race": np.zeros((count, 5))}


def face(box: tuple[float, float, float, float], landmarks: object = None) -> Faces:
    marks = np.full((1, 5, 2), np.nan) if landmarks is None else np.reshape(landmarks, (1, 5, 2))
    return Faces([box], [0.9], marks)


def test_crops_are_answered_in_order_batch_by_batch() -> None:
    backend = FakeBackend([CROPS], OUTPUTS, first_pixel_as_age)
    crops = np.zeros((7, SIZE, SIZE, 3), np.uint8) + np.arange(7, dtype=np.uint8)[:, None, None, None]
    with AttributeEstimator(backend=backend, batch=3, spec=tiny_spec()) as estimator:
        answers = estimator.from_crops(crops)
    assert answers.age.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert backend.calls == 3


def test_no_faces_need_no_inference() -> None:
    backend = FakeBackend([CROPS], OUTPUTS)
    estimator = AttributeEstimator(backend=backend, spec=tiny_spec())
    assert len(estimator(np.zeros((8, 8, 3), np.uint8), Faces.empty())) == 0
    assert len(estimator.from_crops(np.zeros((0, SIZE, SIZE, 3), np.uint8))) == 0
    assert backend.calls == 0


def test_each_face_is_seen_where_it_is(tiny_model: Path) -> None:  # noqa: F811
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 100:] = 255
    points = np.asarray(tiny_spec().alignment.template) * 40
    faces = Faces([[30, 30, 70, 70], [130, 30, 170, 70]], [0.9, 0.8], [points + [30, 30], points + [130, 30]])
    answers = AttributeEstimator(tiny_model, threads=1)(image, faces)
    np.testing.assert_allclose(answers.age, [0, 90], atol=0.1)
    np.testing.assert_allclose(answers.gender.sum(axis=1), 1, rtol=1e-5)


def test_without_landmarks_the_frontal_face_is_put_into_the_box() -> None:
    (points,) = landmarks_of(face((10, 20, 110, 220)))
    np.testing.assert_allclose(points, np.asarray(LANDMARKS_IN_BOX) * [100, 200] + [10, 20], rtol=1e-6)


def test_landmarks_in_one_point_are_replaced_and_good_ones_kept() -> None:
    good = np.array([[1, 1], [5, 1], [3, 3], [2, 5], [4, 5]])
    assert landmarks_of(face((0, 0, 6, 6), good))[0].tolist() == good.tolist()
    np.testing.assert_allclose(landmarks_of(face((0, 0, 6, 6), np.full((5, 2), 3.0)))[0, 2], [3, 0.58 * 6])


def test_files_without_a_usable_spec_are_refused(tmp_path: Path, tiny_detector: Path) -> None:  # noqa: F811
    with pytest.raises(SpecError, match="has no `edgeface.spec`.*it is a face detector, not an attribute network"):
        AttributeEstimator(tiny_detector)
    with pytest.raises(SpecError, match="has no `edgeface.spec`.* with: edgeface export"):
        AttributeEstimator(write_tiny_model(tmp_path / "bare.onnx", ""))


def test_a_network_without_a_head_is_refused() -> None:
    with pytest.raises(SpecError, match=r"backend has .*outputs \['age'\], expected one input and age, age_st"):
        AttributeEstimator(backend=FakeBackend([CROPS], OUTPUTS[:1]), spec=tiny_spec())


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="batch: expected 1 or more, found 0"):
        AttributeEstimator(backend=FakeBackend([CROPS], OUTPUTS), spec=tiny_spec(), batch=0)
    with pytest.raises(ConfigError, match="a backend of your own needs its ModelSpec"):
        AttributeEstimator(backend=FakeBackend([CROPS], OUTPUTS))


def test_crops_of_another_size_are_refused() -> None:
    estimator = AttributeEstimator(backend=FakeBackend([CROPS], OUTPUTS), spec=tiny_spec())
    with pytest.raises(ImageError, match=r"crops: expected uint8 \[N, 32, 32, 3\], found uint8 \[2, 16, 16, 3\]"):
        estimator.from_crops(np.zeros((2, 16, 16, 3), np.uint8))
