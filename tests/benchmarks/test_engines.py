"""The benchmark of engines, as far as it goes without a GPU: its rows, its refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu.engines import _check_source, figures_of, main
from edgeface.cuda.pycuda_context import find_gpu
from edgeface.errors import BackendError, ConfigError
from edgeface.inference.detector import shipped_model
from edgeface.quantization.quantize import quantize


def test_rows_are_set_against_the_first() -> None:
    work = {"fp32": 4000, "int8": 1000}
    rows = figures_of({name: lambda count=count: sum(range(count)) for name, count in work.items()}, 8, 0.1)
    assert [(row["engine"], row["batch"]) for row in rows] == [("fp32", 8), ("int8", 8)]
    assert rows[0]["speedup"]["median"] == 1
    assert rows[0]["speedup"]["verdict"] == "no difference beyond noise"
    assert all(0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] and row["crops_per_s"] > 0 for row in rows)


def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        find_gpu()
    except BackendError:
        assert main(["--save", str(tmp_path / "engines.json")]) == 1
        assert capsys.readouterr().err.startswith("error: no NVIDIA GPU here: ")
        assert list(tmp_path.iterdir()) == []
    else:
        pytest.skip("there is a GPU here")


def test_an_int8_graph_has_to_be_one_and_the_models(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra `quantize` is not installed")
    model = shipped_model("attributes.onnx")
    half = quantize(model, tmp_path / "fp16.onnx", "fp16", "tensorrt")
    for graph in (model, half):
        with pytest.raises(ConfigError, match="is no int8 graph for TensorRT; make it with: edgeface quantize"):
            _check_source(graph, model)
