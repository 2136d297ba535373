"""OpenVINO in ONNX Runtime's place: the same answers to the same faces, and plain sentences."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.errors import ArtifactError, BackendError, MissingDependencyError
from edgeface.inference.attributes import AttributeEstimator
from edgeface.inference.detector import FaceDetector, shipped_model
from edgeface.runtime.base import Backend
from edgeface.runtime.open import open_backend
from edgeface.runtime.openvino import OpenVinoBackend
from edgeface.runtime.ort import OrtBackend
from tests.cli.conftest import Cli, cli  # noqa: F401
from tests.conftest import ROOT

PHOTO = ROOT / "edgeface" / "assets" / "photos" / "grace-hopper.jpg"
needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None,
    reason="openvino is not installed (extra `openvino`)",
)


@needs_openvino
@pytest.mark.parametrize("count", [1, 3])
def test_it_answers_as_onnx_runtime_does(count: int) -> None:
    path = shipped_model("attributes.onnx")
    crops = np.random.default_rng(3).integers(0, 256, (count, 96, 96, 3), np.uint8)
    with OpenVinoBackend(path, threads=1) as ours, OrtBackend(path, threads=1) as reference:
        assert isinstance(ours, Backend)
        assert (ours.inputs, ours.outputs) == (reference.inputs, reference.outputs)
        found, expected = ours.infer({"crops": crops}), reference.infer({"crops": crops})
        again = ours.infer({"crops": crops[::-1].copy()})
        for _ in range(5):  # now a network of this very shape answers
            often = ours.infer({"crops": crops})
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(often[name], values, atol=2e-3)
        np.testing.assert_allclose(found[name], values, atol=2e-3)
        np.testing.assert_allclose(again[name], values[::-1], atol=2e-3)  # and the first answers are still there


@needs_openvino
def test_the_variable_chooses_it_where_pictures_are_analysed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def only_face() -> dict[str, Any]:
        result = cli("predict", PHOTO, "--json")
        assert result.code == 0, result.err
        (face,) = result.json()["faces"]
        return dict(face)

    expected = only_face()
    monkeypatch.setenv("EDGEFACE_RUNTIME", "openvino")
    with AttributeEstimator(threads=2) as estimator, FaceDetector(threads=1) as detector:
        backend = estimator.backend
        assert isinstance(backend, OpenVinoBackend)
        assert backend.device == f"CPU (OpenVINO {backend.version}, 2 threads)"
        assert isinstance(detector.backend, OpenVinoBackend)
    found = only_face()
    assert found["gender"] == expected["gender"] and found["age"] == pytest.approx(expected["age"], abs=0.1)
    assert found["box"] == pytest.approx(expected["box"], abs=0.5)


@needs_openvino
def test_an_argument_overrules_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    path = shipped_model("attributes.onnx")
    with open_backend(path, 1, runtime="openvino") as asked, open_backend(path, 1, True, "openvino") as simulated:
        assert isinstance(asked, OpenVinoBackend)
        assert isinstance(simulated, OrtBackend), "only ONNX Runtime can simulate"
    monkeypatch.setenv("EDGEFACE_RUNTIME", "openvino")
    with AttributeEstimator(runtime="onnxruntime") as estimator, FaceDetector(runtime="onnxruntime") as detector:
        assert isinstance(estimator.backend, OrtBackend)
        assert isinstance(detector.backend, OrtBackend)


@needs_openvino
def test_files_and_feeds_that_do_not_fit(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ArtifactError, match="is not an ONNX model that OpenVINO"):
        OpenVinoBackend(broken)
    with pytest.raises(ArtifactError, match="no such file"):
        OpenVinoBackend(tmp_path / "absent.onnx")
    with pytest.raises(BackendError, match="threads: expected 0"):
        OpenVinoBackend(shipped_model("attributes.onnx"), threads=-1)
    backend = OpenVinoBackend(shipped_model("attributes.onnx"), threads=1)
    with pytest.raises(BackendError, match=r"expected inputs \['crops'\], found \['image'\]"):
        backend.infer({"image": np.zeros((1, 96, 96, 3), np.uint8)})
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.infer({"crops": np.zeros((1, 96, 96, 3), np.uint8)})


@pytest.mark.parametrize("analyse", [AttributeEstimator, FaceDetector])
def test_unknown_and_missing_run_times_are_named(
    analyse: Callable[[], object], absent_runtime: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingDependencyError, match="EDGEFACE_RUNTIME=openvino needs `openvino`"):
        analyse()
    monkeypatch.setenv("EDGEFACE_RUNTIME", "ncnn")
    with pytest.raises(BackendError, match="EDGEFACE_RUNTIME: expected onnxruntime or openvino, found `ncnn`"):
        analyse()
    with pytest.raises(BackendError, match="runtime: expected onnxruntime or openvino, found `ncnn`"):
        open_backend(shipped_model("attributes.onnx"), runtime="ncnn")


def test_a_backend_alone_is_onnx_runtimes(absent_runtime: None) -> None:
    with open_backend(shipped_model("attributes.onnx")) as backend:
        assert isinstance(backend, OrtBackend)
