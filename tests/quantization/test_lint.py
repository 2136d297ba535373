from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import ArtifactError
from edgeface.quantization.lint import RULES, Finding, lint
from edgeface.quantization.quantize import quantize
from edgeface.quantization.ranges import Ranges, activation_ranges
from edgeface.quantization.tensorrt_compat import onnx_for_tensorrt
from edgeface.runtime.base import Feed
from edgeface.runtime.open import open_backend
from tests.quantization.conftest import Graph

onnx = pytest.importorskip("onnx", reason="the extra `quantize` is not installed")


def rules(findings: list[Finding]) -> Counter[str]:
    return Counter(finding.rule for finding in findings)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_what_quantize_writes_for_tensorrt_passes(
    precision: str,
    attributes: Path,
    attribute_ranges: Ranges,
    detector: Path,
    detector_ranges: Ranges,
    tmp_path: Path,
) -> None:
    for model, ranges in ((attributes, attribute_ranges), (detector, detector_ranges)):
        assert lint(quantize(model, tmp_path / "out.onnx", precision, "tensorrt", ranges)) == []


def test_a_graph_for_x86_is_none_for_tensorrt(attributes: Path, attribute_ranges: Ranges, tmp_path: Path) -> None:
    found = lint(quantize(attributes, tmp_path / "u8s8.onnx", "int8", "cpu-x86", attribute_ranges))
    assert {"uint8-qdq", "zero-point", "bias", "qdq-before-add"} <= set(rules(found))
    assert [finding.level for finding in found] == sorted(finding.level for finding in found), "errors first"
    unsigned = next(finding for finding in found if finding.rule == "uint8-qdq")
    assert unsigned.sentence == "QuantizeLinear to unsigned integers, TensorRT knows int8 only"
    assert unsigned.link.startswith("https://github.com/onnx/onnx-tensorrt/blob/release/8.6-GA/")


def test_uint8_inside_the_network_is_found_and_mended(tmp_path: Path, feeds: list[Feed]) -> None:
    graph = Graph()
    graph.nodes.clear()
    graph.node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    graph.node("Cast", ["planes"], "pixels", to=onnx.TensorProto.FLOAT)
    path = graph.conv("pixels", "a", inputs=3).save(tmp_path / "m.onnx", "a")
    (finding,) = lint(path)
    assert (finding.rule, finding.node, finding.level) == ("uint8-inside", "planes", "error")
    assert "Transpose makes a uint8 tensor inside the network" in finding.sentence
    mended = tmp_path / "mended.onnx"
    mended.write_bytes(onnx_for_tensorrt(path))
    assert lint(mended) == []
    with open_backend(path, 1) as before, open_backend(mended, 1) as after:
        np.testing.assert_array_equal(before.infer(feeds[0])["a"], after.infer(feeds[0])["a"])


def test_pixels_are_cast_first_also_where_the_batch_size_is_asked_for(tmp_path: Path, feeds: list[Feed]) -> None:
    """As exporters write a flattening: the batch size comes from the uint8 input's shape."""
    graph = Graph()
    del graph.nodes[:]
    graph.node("Shape", ["image"], "size", start=0, end=1).node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    graph.node("Cast", ["planes"], "pixels", to=1).conv("pixels", "stem", inputs=3).conv("stem", "last")
    graph.node("Concat", ["size", graph.constant("rest", np.array([-1], np.int64))], "rows", axis=0)
    path = graph.node("Reshape", ["last", "rows"], "head").save(tmp_path / "m.onnx", "head")
    assert [finding.rule for finding in lint(path)] == ["uint8-inside"]
    fixed = tmp_path / "fixed.onnx"
    fixed.write_bytes(onnx_for_tensorrt(path))
    assert lint(fixed) == []
    assert [node.op_type for node in onnx.load(fixed).graph.node if "image" in node.input] == ["Cast"]
    with open_backend(path, 1) as before, open_backend(fixed, 1) as after:
        np.testing.assert_array_equal(before.infer(feeds[0])["head"], after.infer(feeds[0])["head"])


def test_weights_as_floats_are_the_same_integers(residual: Path, feeds: list[Feed], tmp_path: Path) -> None:
    path = quantize(
        residual, tmp_path / "int8.onnx", "int8", "tensorrt", activation_ranges(residual, feeds, "minmax", "s")
    )
    wide = tmp_path / "wide.onnx"
    wide.write_bytes(onnx_for_tensorrt(path, float_weights=True))
    model = onnx.load(wide)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    dequantised = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert all(node.input[0] not in kinds for node in dequantised), "each DQ follows a Q"
    assert lint(wide) == []
    with open_backend(path, 1, simulate=True) as before, open_backend(wide, 1, simulate=True) as after:
        np.testing.assert_array_equal(before.infer(feeds[0])["head"], after.infer(feeds[0])["head"])


def quantised(tmp_path: Path, residual: Path, feeds: list[Feed]) -> onnx.ModelProto:
    ranges = activation_ranges(residual, feeds, "minmax", "s")
    return onnx.load(quantize(residual, tmp_path / "int8.onnx", "int8", "tensorrt", ranges))


def replace_constant(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def test_scales_zero_points_and_axes(residual: Path, feeds: list[Feed], tmp_path: Path) -> None:
    model = quantised(tmp_path, residual, feeds)
    first = node_of(model, "q0")
    replace_constant(model, first.input[1], np.float32(0))
    replace_constant(model, first.input[2], np.int8(3))
    weight = node_of(model, "dw1")
    weight.attribute[0].i = 1
    found = {(finding.rule, finding.node): finding.sentence for finding in lint(model)}
    assert found["scale", "q0"] == "a scale is not positive: quantise the model again"
    assert found["zero-point", "q0"] == "the zero-point is not 0, TensorRT quantises symmetrically only"
    assert found["weight-axis", "dw1"] == (
        "the weight of branch1 has its scales on axis 1, expected 0, the output channels"
    )


def test_missing_zero_points_and_computed_scales(residual: Path, feeds: list[Feed], tmp_path: Path) -> None:
    model = quantised(tmp_path, residual, feeds)
    del node_of(model, "dw1").input[2]
    pair = node_of(model, "q1")
    model.graph.node.insert(0, onnx.helper.make_node("Identity", [pair.input[1]], ["computed"], name="computing"))
    pair.input[1] = "computed"
    found = {(finding.rule, finding.node): finding.sentence for finding in lint(model)}
    assert "no constant zero-point" in found["zero-point", "dw1"]
    assert found["scale", "q1"] == "the scale is computed at runtime, expected a constant"


def test_a_scale_a_channel_is_for_weights_only(residual: Path, feeds: list[Feed], tmp_path: Path) -> None:
    model = quantised(tmp_path, residual, feeds)
    pair = node_of(model, "q0")
    for position, values in ((1, np.ones(3, np.float32)), (2, np.zeros(3, np.int8))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, f"per-channel-{position}"))
        pair.input[position] = f"per-channel-{position}"
    assert ("activation-per-channel", "q0") in {(finding.rule, finding.node) for finding in lint(model)}


def test_pairs_that_keep_layers_from_fusing(residual: Path, feeds: list[Feed], tmp_path: Path) -> None:
    """A pair between Conv and Relu, one between Conv and Add beside that of the skip branch, a half-quantised Conv."""
    model = quantised(tmp_path, residual, feeds)
    parameters = list(node_of(model, "q0").input[1:])
    make = onnx.helper.make_node
    for tensor, reader in (("stem", "skip1"), ("branch1", "sum1")):
        node = node_of(model, reader)
        at = list(model.graph.node).index(node)
        node.input[list(node.input).index(tensor)] = f"{tensor}.dq"
        model.graph.node.insert(at, make("DequantizeLinear", [f"{tensor}.q", *parameters], [f"{tensor}.dq"]))
        model.graph.node.insert(at, make("QuantizeLinear", [tensor, *parameters], [f"{tensor}.q"], name=f"{tensor}.Q"))
    node_of(model, "branch2").input[0] = "skip2"
    found = {(finding.rule, finding.node): finding for finding in lint(model)}
    assert found["qdq-before-relu", "stem.Q"].sentence == "between stem and its Relu, which then cannot fuse"
    assert "between branch1 and the Add sum1" in found["qdq-before-add", "branch1.Q"].sentence
    assert "the input has no Q/DQ pair, so the layer runs in float" in found["half-quantised", "branch2"].sentence
    assert {finding.level for finding in found.values()} == {"warning"}


def test_operators_opset_and_numbers(tmp_path: Path) -> None:
    graph = Graph().conv("pixels", "a", inputs=3)
    names = [graph.constant(name, np.ones(4, np.float32)) for name in ("gamma", "beta", "mean", "var")]
    graph.node("BatchNormalization", ["a", *names], "normal")
    graph.node("InstanceNormalization", ["normal", "gamma", "beta"], "instance").node("Det", ["instance"], "det")
    starts, huge = graph.constant("starts", np.array([0])), graph.constant("huge", np.array([2**40]))
    ends, axes = graph.constant("ends", np.array([2**63 - 1])), graph.constant("axes", np.array([0]))
    graph.node("Slice", ["det", starts, ends, axes], "slice")
    graph.node("Reshape", ["slice", huge], "out")
    graph.node("Foreign", ["out"], "end", domain="ai.onnx.contrib")
    path = graph.save(tmp_path / "m.onnx", "end", opset=18)
    model = onnx.load(path)
    found = {finding.rule: finding for finding in lint(model)}
    assert found["opset"].sentence == "opset 18 is newer than TensorRT 8.6 reads: export with 17 or older"
    assert found["plugin"].node == "instance"
    assert rules(lint(model))["operator"] == 2
    assert found["batch-norm"].node == "normal"
    assert (found["int64"].node, rules(lint(model))["int64"]) == ("huge", 1), "a slice may end at the largest integer"


def test_float64_is_pointed_out(tmp_path: Path) -> None:
    graph = Graph().conv("pixels", "a", inputs=3)
    graph.node("Cast", [graph.constant("precise", np.ones(1))], "single", to=onnx.TensorProto.FLOAT)
    findings = lint(graph.node("Mul", ["a", "single"], "b").save(tmp_path / "m.onnx", "b"))
    assert [(finding.rule, finding.node, finding.level) for finding in findings] == [("double", "precise", "warning")]


def test_every_rule_says_where_it_is_published() -> None:
    assert all(rule.link.startswith("https://") and rule.level in ("error", "warning") for rule in RULES.values())


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("no model")
    with pytest.raises(ArtifactError, match="m.onnx` is not an ONNX model or is damaged"):
        lint(tmp_path / "m.onnx")
