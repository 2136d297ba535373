from __future__ import annotations

import numpy as np
import pytest

from edgeface.errors import BackendError
from edgeface.runtime.base import Backend, TensorInfo
from edgeface.runtime.fake import FakeBackend

INPUT = TensorInfo("x", np.dtype(np.float32), (None, 3))
OUTPUTS = (TensorInfo("y", np.dtype(np.float32), (None, 2)), TensorInfo("z", np.dtype(np.float64), (4, None)))


def feed(value: float = 1.0, rows: int = 5) -> dict[str, np.ndarray]:
    return {"x": np.full((rows, 3), value, np.float32)}


def test_noise_has_the_promised_shapes_and_types() -> None:
    answers = FakeBackend([INPUT], OUTPUTS).infer(feed())
    assert answers["y"].shape == (5, 2) and answers["y"].dtype == np.float32
    assert answers["z"].shape == (4, 1) and answers["z"].dtype == np.float64
    assert answers["y"].min() >= 0 and answers["y"].max() <= 1


def test_noise_depends_on_feed_name_and_seed_alone() -> None:
    first = FakeBackend([INPUT], OUTPUTS).infer(feed())["y"]
    np.testing.assert_array_equal(first, FakeBackend([INPUT], OUTPUTS).infer(feed())["y"])
    assert not np.array_equal(first, FakeBackend([INPUT], OUTPUTS).infer(feed(2.0))["y"])
    assert not np.array_equal(first, FakeBackend([INPUT], OUTPUTS, seed=1).infer(feed())["y"])


def test_an_answer_is_computed_and_counted() -> None:
    backend = FakeBackend([INPUT], OUTPUTS[:1], lambda fed: {"y": fed["x"][:, :2] * 2})
    np.testing.assert_array_equal(backend.infer(feed(3.0))["y"], np.full((5, 2), 6))
    assert backend.calls == 1 and isinstance(backend, Backend)


def test_wrong_feeds_and_answers_are_named() -> None:
    with pytest.raises(BackendError, match=r"expected inputs \['x'\], found \['w'\]"):
        FakeBackend([INPUT], OUTPUTS).infer({"w": np.zeros((1, 3), np.float32)})
    with pytest.raises(BackendError, match=r"expected outputs \['y', 'z'\], found \['y'\]"):
        FakeBackend([INPUT], OUTPUTS, lambda fed: {"y": fed["x"]}).infer(feed())


def test_a_closed_backend_says_so() -> None:
    with FakeBackend([INPUT], OUTPUTS) as backend:
        assert backend.inputs == (INPUT,) and "fake" in backend.device
    with pytest.raises(BackendError, match="this backend is closed"):
        backend.infer(feed())
