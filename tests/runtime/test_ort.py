from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import ArtifactError, BackendError, MissingDependencyError
from edgeface.runtime.base import Backend, TensorInfo
from edgeface.runtime.open import open_backend
from edgeface.runtime.ort import OrtBackend
from tests.fixtures import SIZE, tiny_model  # noqa: F401

onnx = pytest.importorskip("onnx", reason="the extra `dev` is not installed")


def crops(count: int) -> np.ndarray:
    return np.full((count, SIZE, SIZE, 3), 255, np.uint8)


def save(path: Path, nodes: list, inputs: list, outputs: list) -> Path:
    graph = onnx.helper.make_graph(nodes, "graph", inputs, outputs)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def value(name: str, shape: list, kind: int = 1) -> object:
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def test_tensors_are_described_with_free_sizes(tiny_model: Path) -> None:  # noqa: F811
    with OrtBackend(tiny_model, threads=1) as backend:
        assert backend.inputs == (TensorInfo("crops", np.dtype(np.uint8), (None, SIZE, SIZE, 3)),)
        assert [info.name for info in backend.outputs] == ["age", "age_std", "gender", "race"]
        assert backend.outputs[3] == TensorInfo("race", np.dtype(np.float32), (None, 5))
        assert isinstance(backend, Backend)


@pytest.mark.parametrize("count", [1, 3])
def test_it_answers_any_batch_by_name(tiny_model: Path, count: int) -> None:  # noqa: F811
    with open_backend(tiny_model, threads=1) as backend:
        answers = backend.infer({"crops": crops(count)})
    np.testing.assert_allclose(answers["age"], np.full(count, 90), rtol=1e-5)
    assert answers["race"].shape == (count, 5)


def test_the_device_says_what_it_got(tiny_model: Path) -> None:  # noqa: F811
    assert OrtBackend(tiny_model, threads=1).device == "CPU (CPUExecutionProvider, 1 thread)"
    assert OrtBackend(tiny_model, threads=2).device == "CPU (CPUExecutionProvider, 2 threads)"
    backend = OrtBackend(tiny_model, provider="cuda")
    assert (backend.providers[0] in backend.device) and backend.threads >= 1


def test_a_wrong_feed_is_one_sentence(tiny_model: Path) -> None:  # noqa: F811
    backend = OrtBackend(tiny_model, threads=1)
    with pytest.raises(BackendError, match=r"expected inputs \['crops'\], found \['image'\]"):
        backend.infer({"image": crops(1)})
    with pytest.raises(BackendError, match=r"input `crops`: expected uint8 \('\?', 32, 32, 3\), found float32"):
        backend.infer({"crops": crops(1).astype(np.float32)})


def test_a_closed_backend_says_so(tiny_model: Path) -> None:  # noqa: F811
    backend = OrtBackend(tiny_model, threads=1)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="this backend is closed, open the model again"):
        backend.infer({"crops": crops(1)})


def test_bad_settings_are_refused(tiny_model: Path) -> None:  # noqa: F811
    with pytest.raises(BackendError, match="no provider `tpu`: expected one of cpu, cuda"):
        OrtBackend(tiny_model, provider="tpu")
    with pytest.raises(BackendError, match="threads: expected 0 .* or more, found -1"):
        OrtBackend(tiny_model, threads=-1)


def test_files_that_are_no_model(tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    with pytest.raises(ArtifactError, match=r"no model at `.*none\.onnx`: no such file"):
        OrtBackend(tmp_path / "none.onnx")
    with pytest.raises(ArtifactError, match="no model at .*: it is a directory"):
        OrtBackend(tmp_path)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(tiny_model.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="damaged.onnx` is not an ONNX model that ONNX Runtime .* can load, copy"):
        OrtBackend(damaged)
    assert capfd.readouterr() == ("", "")


def test_a_failing_operator_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nodes = [onnx.helper.make_node("Add", ["a", "b"], ["sum"])]
    path = save(tmp_path / "add.onnx", nodes, [value("a", ["N"]), value("b", ["M"])], [value("sum", ["K"])])
    with (
        OrtBackend(path, threads=1) as backend,
        pytest.raises(BackendError, match="ONNX Runtime could not run the model: .*Add") as caught,
    ):
        backend.infer({"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_tensors_of_text_are_refused(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Identity", ["a"], ["b"])]
    text = onnx.TensorProto.STRING
    path = save(tmp_path / "text.onnx", nodes, [value("a", ["N"], text)], [value("b", ["N"], text)])
    with pytest.raises(ArtifactError, match=r"`a` has the type tensor\(string\), expected a tensor of numbers"):
        OrtBackend(path)


def test_without_onnxruntime_the_package_is_named(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="needs `onnxruntime`, which is not installed: .*pip install"):
        OrtBackend(tiny_model)


def test_other_suffixes_have_no_run_time() -> None:
    with pytest.raises(BackendError, match=r"no runtime for `a\.bin`: expected .* ending in \.onnx, found `\.bin`"):
        open_backend("a.bin")
