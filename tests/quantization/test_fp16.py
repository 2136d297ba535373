from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import ArtifactError, ConfigError
from edgeface.quantization.quantize import quantize
from edgeface.runtime.base import Feed
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import model_spec
from tests.quantization.conftest import Graph

onnx = pytest.importorskip("onnx", reason="the extra `quantize` is not installed")
FLOAT16, FLOAT = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


def answers(path: Path, feed: Feed) -> dict[str, np.ndarray]:
    with open_backend(path, threads=1) as backend:
        return backend.infer(feed)


def types(path: Path) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The model and the element type of every tensor, as ONNX's own inference derives them."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True)
    values = (*model.graph.value_info, *model.graph.output, *model.graph.input)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return model, {**found, **{tensor.name: tensor.data_type for tensor in model.graph.initializer}}


def test_attributes_agree_within_a_hair(attributes: Path, crops: np.ndarray, tmp_path: Path) -> None:
    path = quantize(attributes, tmp_path / "fp16.onnx", "fp16", "tensorrt")
    assert path.stat().st_size < 0.52 * attributes.stat().st_size
    expected, found = answers(attributes, {"crops": crops}), answers(path, {"crops": crops})
    assert np.abs(found["age"] - expected["age"]).max() < 0.2
    assert np.abs(found["age_std"] - expected["age_std"]).max() < 0.1
    assert np.abs(found["race"] - expected["race"]).max() < 0.01
    precision = model_spec(path).precision
    assert precision is not None
    assert (precision.precision, precision.flavour, precision.target) == ("fp16", "fp16", "tensorrt")


def test_shapes_and_masks_are_not_cast(tmp_path: Path, feeds: list[Feed]) -> None:
    """Channels are shuffled to a shape computed at runtime, and half of the values is taken by a mask."""
    graph = Graph().conv("pixels", "stem", inputs=3, gain=0.01).node("Shape", ["stem"], "size", start=0, end=1)
    rest = graph.constant("rest", np.array([2, 2, 16, 16], np.int64))
    graph.node("Concat", ["size", rest], "groups", axis=0).node("Reshape", ["stem", "groups"], "split")
    graph.node("Transpose", ["split"], "turned", perm=[0, 2, 1, 3, 4]).node("Shape", ["stem"], "whole")
    graph.node("Reshape", ["turned", "whole"], "shuffled").node("Neg", ["shuffled"], "less")
    graph.node("Greater", ["shuffled", "less"], "mask").node("Where", ["mask", "shuffled", "less"], "chosen")
    path = graph.conv("chosen", "head").save(tmp_path / "m.onnx", "head")
    half = quantize(path, tmp_path / "fp16.onnx", "fp16", "tensorrt")
    expected, found = answers(path, feeds[0])["head"], answers(half, feeds[0])["head"]
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def test_the_detector_agrees_at_any_size(detector: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    path = quantize(detector, tmp_path / "fp16.onnx", "fp16", "tensorrt")
    for feed in ({"image": pictures}, {"image": pictures[:1, :64]}):
        expected, found = answers(detector, feed), answers(path, feed)
        assert np.abs(found["score"] - expected["score"]).max() < 0.02
        assert np.median(np.abs(found["landmarks"] - expected["landmarks"])) < 0.02


def test_layers_are_sixteen_bit_and_ends_are_not(attributes: Path, tmp_path: Path) -> None:
    model, kinds = types(quantize(attributes, tmp_path / "fp16.onnx", "fp16", "tensorrt"))
    for node in model.graph.node:
        read = [kinds[name] for name in node.input if name in kinds]
        if node.op_type in ("Conv", "Gemm"):
            assert set(read) == {FLOAT16}, node.name
        if node.op_type in ("Softmax", "Sub", "Div", "Pow", "Sqrt"):
            assert set(read) == {FLOAT}, node.name
    assert {kinds[value.name] for value in model.graph.output} == {FLOAT}
    assert {kinds[value.name] for value in model.graph.input} == {onnx.TensorProto.UINT8}
    assert sum(node.op_type == "Cast" for node in model.graph.node) == 5, "pixels, into the body, out of three heads"


def test_a_layer_that_answers_directly_answers_in_float32(residual: Path, feeds: list[Feed], tmp_path: Path) -> None:
    path = quantize(residual, tmp_path / "fp16.onnx", "fp16")
    _, kinds = types(path)
    assert kinds["head"] == FLOAT
    expected, found = answers(residual, feeds[0])["head"], answers(path, feeds[0])["head"]
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def test_layers_kept_in_float(residual: Path, feeds: list[Feed], tmp_path: Path) -> None:
    path = quantize(residual, tmp_path / "fp16.onnx", "fp16", keep_float=["branch1"])
    model, kinds = types(path)
    kept = next(node for node in model.graph.node if node.name == "branch1")
    assert {kinds[name] for name in (*kept.input, *kept.output)} == {FLOAT}
    expected, found = answers(residual, feeds[0])["head"], answers(path, feeds[0])["head"]
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def test_resize_keeps_its_scales_in_float32(tmp_path: Path, feeds: list[Feed]) -> None:
    graph = Graph().conv("pixels", "a", inputs=3, gain=0.01)
    scales = graph.constant("scales", np.array([1, 1, 2, 2], np.float32))
    graph.node("Resize", ["a", "", scales], "large", mode="nearest")
    source = graph.conv("large", "b").save(tmp_path / "m.onnx", "b")
    path = quantize(source, tmp_path / "fp16.onnx", "fp16")
    _, kinds = types(path)
    assert (kinds["scales"], kinds["large"]) == (FLOAT, FLOAT16)
    assert answers(path, feeds[0])["b"].shape == (2, 4, 32, 32)


def test_what_does_not_fit_sixteen_bits(tmp_path: Path, attributes: Path) -> None:
    graph = Graph().conv("pixels", "a", inputs=3, gain=1e6)
    source = graph.conv("a", "b").save(tmp_path / "m.onnx", "b")
    out = tmp_path / "out.onnx"
    with pytest.raises(ConfigError, match="constant `a.weight` is beyond float16's 65504; keep its layer in float"):
        quantize(source, out, "fp16")
    quantize(source, out, "fp16", keep_float=["a"])
    with pytest.raises(ArtifactError, match="is already quantised; start from the float model"):
        quantize(out, tmp_path / "again.onnx", "fp16")
    with pytest.raises(ConfigError, match="no layer is left to make 16-bit"):
        quantize(source, tmp_path / "none.onnx", "fp16", keep_float=["a", "b"])
    with pytest.raises(ConfigError, match="no layer `c` to keep in float; the nearest name is"):
        quantize(source, tmp_path / "none.onnx", "fp16", keep_float=["c"])
