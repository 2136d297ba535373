"""The variant for OpenCV keeps answers and spec, and refuses graphs it has no form for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import ArtifactError, ExportError
from edgeface.inference.detector import shipped_model
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import detector_spec, model_spec, onnx_metadata

onnx = pytest.importorskip("onnx", reason="the extra `dev` is not installed")

from edgeface.export.opencv_variant import VARIANT_KEY, write_opencv_variant  # noqa: E402


def test_the_detector_answers_alike_on_any_canvas(tmp_path: Path) -> None:
    source, target = shipped_model("detector.onnx"), tmp_path / "detector.onnx"
    write_opencv_variant(source, target)
    assert detector_spec(target) == detector_spec(source)
    assert onnx_metadata(target)[VARIANT_KEY] == "opencv"
    kinds = {node.op_type for node in onnx.load(target).graph.node}
    assert not kinds & {"Cast", "Shape", "Clip", "ReduceSum"}
    pixels = np.random.default_rng(1).integers(0, 256, (1, 224, 96, 3), np.uint8)
    with open_backend(source, threads=1) as original, open_backend(target, threads=1) as variant:
        wanted, found = original.infer({"image": pixels}), variant.infer({"image": pixels.astype(np.float32)})
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=1e-4)


def test_the_attribute_network_answers_alike(tmp_path: Path) -> None:
    source, target = shipped_model("attributes.onnx"), tmp_path / "attributes.onnx"
    write_opencv_variant(source, target)
    spec = model_spec(target)
    assert spec == model_spec(source)
    crops = np.random.default_rng(2).integers(0, 256, (4, spec.input_size, spec.input_size, 3), np.uint8)
    with open_backend(source, threads=1) as original, open_backend(target, threads=1) as variant:
        wanted = original.infer({"crops": crops})
        for row, crop in enumerate(crops):
            found = variant.infer({"crops": crop[None].astype(np.float32)})
            for name, values in wanted.items():
                np.testing.assert_allclose(found[name].ravel(), values[row].ravel(), atol=2e-3)


def test_a_graph_without_a_form_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    model = onnx.load(shipped_model("attributes.onnx"))
    summed = next(node for node in model.graph.node if node.op_type == "ReduceSum")
    summed.input[0] = next(node for node in model.graph.node if node.op_type == "Softmax").output[0]
    onnx.save(model, str(tmp_path / "odd.onnx"))
    with pytest.raises(ExportError, match="is not over a product, OpenCV's variant has no form for it"):
        write_opencv_variant(tmp_path / "odd.onnx", tmp_path / "variant.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.onnx"]


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ArtifactError, match="is not an ONNX model"):
        write_opencv_variant(tmp_path / "x.onnx", tmp_path / "y.onnx")
