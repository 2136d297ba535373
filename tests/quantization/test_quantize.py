from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.common.files import sha256_file
from edgeface.errors import ArtifactError, ConfigError, SinkError, SpecError
from edgeface.quantization.qdq import activation_scale, weight_scales
from edgeface.quantization.quantize import quantize
from edgeface.quantization.ranges import Ranges, activation_ranges
from edgeface.runtime.base import Feed
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import model_spec
from edgeface.spec.model import ModelSpec, PrecisionSpec
from edgeface.spec.precision import quant_scheme_of
from tests.fixtures import convolutions, tiny_spec, write_tiny_model
from tests.quantization.conftest import Graph

onnx = pytest.importorskip("onnx", reason="the extra `quantize` is not installed")

TARGETS = ("tensorrt", "cpu-x86", "cpu-arm")
Answers = dict[str, np.ndarray]


def answers(path: Path, feed: Feed, simulate: bool = True) -> Answers:
    with open_backend(path, threads=1, simulate=simulate) as backend:
        return backend.infer(feed)


@pytest.mark.parametrize("target", TARGETS)
def test_attributes_stay_close_and_become_small(
    target: str, attributes: Path, attribute_ranges: Ranges, crops: np.ndarray, tmp_path: Path
) -> None:
    path = quantize(attributes, tmp_path / "int8.onnx", "int8", target, attribute_ranges)
    assert path.stat().st_size <= attributes.stat().st_size / 3
    expected, found = answers(attributes, {"crops": crops}), answers(path, {"crops": crops})
    assert found.keys() == expected.keys()
    assert np.abs(found["age"] - expected["age"]).mean() < 3
    assert np.abs(found["gender"] - expected["gender"]).mean() < 0.1
    assert not np.array_equal(found["age"], expected["age"]), "nothing was quantised"


@pytest.mark.parametrize("target", TARGETS)
def test_the_detector_stays_close_and_becomes_small(
    target: str, detector: Path, detector_ranges: Ranges, pictures: np.ndarray, tmp_path: Path
) -> None:
    path = quantize(detector, tmp_path / "int8.onnx", "int8", target, detector_ranges)
    assert path.stat().st_size <= detector.stat().st_size / 3
    expected, found = answers(detector, {"image": pictures}), answers(path, {"image": pictures})
    assert np.abs(found["score"] - expected["score"]).mean() < 0.02
    larger = np.zeros((1, 128, 160, 3), np.uint8)
    assert answers(path, {"image": larger})["box"].shape == answers(detector, {"image": larger})["box"].shape


def test_integer_kernels_answer_like_the_simulation(
    attributes: Path, attribute_ranges: Ranges, crops: np.ndarray, tmp_path: Path
) -> None:
    """u8s8 cannot saturate on any x86, so fused kernels and floats differ by rounding only."""
    path = quantize(attributes, tmp_path / "int8.onnx", "int8", "cpu-x86", attribute_ranges)
    fused, simulated = (answers(path, {"crops": crops}, simulate) for simulate in (False, True))
    assert np.abs(fused["age"] - simulated["age"]).max() < 1.5
    assert np.abs(fused["race"] - simulated["race"]).max() < 0.1


def test_convolutions_fuse_in_onnxruntime(attributes: Path, attribute_ranges: Ranges, tmp_path: Path) -> None:
    import onnxruntime

    path = quantize(attributes, tmp_path / "int8.onnx", "int8", "cpu-x86", attribute_ranges)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node)
    assert (kinds["QLinearConv"], kinds["QLinearAdd"]) == (29, 7)
    assert kinds["Conv"] == 1, "the position pool"
    assert kinds["Add"] <= 2, "the sum that it reads, and the odds of the races"


def test_tensorrt_gets_symmetric_signed_integers_per_channel(
    attributes: Path, attribute_ranges: Ranges, tmp_path: Path
) -> None:
    model = onnx.load(quantize(attributes, tmp_path / "int8.onnx", "int8", "tensorrt", attribute_ranges))
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        assert values[node.input[2]].dtype == np.int8
        assert not values[node.input[2]].any()
        assert values[node.input[1]].shape == values[node.input[2]].shape
        if node.input[0] in values:
            assert values[node.input[1]].shape == values[node.input[0]].shape[:1]
            assert np.abs(values[node.input[0]]).max() == 127
    biases = [values[node.input[2]] for node in model.graph.node if node.op_type == "Conv"]
    assert {bias.dtype for bias in biases} == {np.dtype(np.float32)}
    assert model.opset_import[0].version == 17


def test_the_spec_records_what_was_done(attributes: Path, attribute_ranges: Ranges, tmp_path: Path) -> None:
    layer = convolutions(attributes)[-5]
    path = quantize(
        attributes,
        tmp_path / "int8.onnx",
        "int8",
        "tensorrt",
        attribute_ranges,
        keep_float=[layer, layer],
        calibration={"name": "a set", "digest": "proof"},
    )
    spec = model_spec(path)
    assert spec.precision == PrecisionSpec(
        precision="int8",
        flavour="s8s8",
        target="tensorrt",
        method="minmax",
        set_name="a set",
        set_digest="proof",
        keep_float=(layer,),
        source_sha256=sha256_file(attributes),
    )
    assert dataclasses.replace(spec, precision=None) == model_spec(attributes)


def test_a_file_of_before_has_no_precision() -> None:
    old = tiny_spec().to_json().replace('"precision": null, ', "")
    assert "precision" not in old
    assert ModelSpec.from_json(old) == tiny_spec()


@pytest.mark.parametrize("precision", ['"int8"', '{"precision": "int8"}', "[1]"])
def test_a_malformed_precision_is_one_sentence(precision: str) -> None:
    text = tiny_spec().to_json().replace('"precision": null', f'"precision": {precision}')
    with pytest.raises(SpecError, match="m.onnx: its ModelSpec is incomplete or malformed .*; export the model again"):
        ModelSpec.from_json(text, "m.onnx")


def test_what_cannot_be_quantised(attributes: Path, attribute_ranges: Ranges, residual: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    done = quantize(attributes, tmp_path / "int8.onnx", "int8", "tensorrt", attribute_ranges)
    with pytest.raises(ArtifactError, match=r"int8.onnx` is already quantised; start from the float model it was made"):
        quantize(done, out, "int8", "tensorrt", attribute_ranges)
    floats = Graph().conv("pixels", "a", inputs=3).save(tmp_path / "floats.onnx", "a", kind=1)
    with pytest.raises(ArtifactError, match="floats.onnx` takes float32 as `image`, expected uint8 pixels"):
        quantize(floats, out, "int8", "tensorrt", attribute_ranges)
    foreign = Graph().conv("pixels", "a", inputs=3).save(tmp_path / "foreign.onnx", "a", spec="")
    with pytest.raises(SpecError, match="has neither `edgeface.spec` nor `edgeface.detector` in its metadata"):
        quantize(foreign, out, "int8", "tensorrt", attribute_ranges)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(residual.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="damaged.onnx` is not an ONNX model or is damaged"):
        quantize(damaged, out, "int8", "tensorrt", attribute_ranges)
    with pytest.raises(ArtifactError, match="cannot read model `.*none.onnx`: No such file or directory"):
        quantize(tmp_path / "none.onnx", out, "fp16")
    assert not out.exists()


def test_settings_that_do_not_fit(
    attributes: Path,
    attribute_ranges: Ranges,
    residual: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out.onnx"
    with pytest.raises(ConfigError, match="no precision `int4`: expected one of int8, fp16"):
        quantize(attributes, out, "int4")
    with pytest.raises(ConfigError, match="int8 needs the activation ranges of a calibration set: name one with --cal"):
        quantize(attributes, out, "int8", "tensorrt")
    with pytest.raises(ConfigError, match="the ranges are those of the model .{12}…, this one is .{12}…; calibrate"):
        quantize(residual, out, "int8", "tensorrt", attribute_ranges)
    with pytest.raises(ConfigError, match="the ranges come from calibration set proof…, not from another…; compute"):
        quantize(attributes, out, "int8", "tensorrt", attribute_ranges, calibration={"digest": "another"})
    incomplete = dataclasses.replace(attribute_ranges, bounds={})
    with pytest.raises(ConfigError, match="no range of activation `div`: calibrate this very model"):
        quantize(attributes, out, "int8", "tensorrt", incomplete)
    endless = dataclasses.replace(attribute_ranges, bounds=dict.fromkeys(attribute_ranges, (0.0, float("inf"))))
    with pytest.raises(ConfigError, match="the range of activation `div` is 0.0…inf: the model's values overflow"):
        quantize(attributes, out, "int8", "tensorrt", endless)
    tiny_model = write_tiny_model(tmp_path / "tiny.onnx")
    nothing = Ranges(sha256_file(tiny_model), "s", "minmax", {})
    with pytest.raises(ConfigError, match="no layer is left to quantise: the model has no inner convolution"):
        quantize(tiny_model, out, "int8", "tensorrt", nothing)
    with pytest.raises(SinkError, match="cannot write"):
        quantize(attributes, attributes / "below" / "out.onnx", "int8", "tensorrt", attribute_ranges)
    assert not out.exists()


@pytest.mark.parametrize("target", TARGETS)
def test_residuals_and_silent_channels(target: str, residual: Path, feeds: list[Feed], tmp_path: Path) -> None:
    """A channel without weights has no scale of its own, and its large bias has to survive in 32 bits."""
    model = onnx.load(residual)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).copy()
        if tensor.name == "branch1.weight":
            values[0] = 0
        if tensor.name == "branch1.bias":
            values[0] = 1000
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    changed = tmp_path / "silent.onnx"
    onnx.save(model, str(changed))
    ranges = activation_ranges(changed, feeds, "minmax", "s")
    path = quantize(changed, tmp_path / "int8.onnx", "int8", target, ranges)
    expected, found = (answers(file, feeds[0])["head"] for file in (changed, path))
    assert np.abs(found - expected).mean() < 0.03 * np.abs(expected).mean()


@pytest.mark.parametrize("target", TARGETS)
def test_relu6_and_conv1d(target: str, feeds: list[Feed], tmp_path: Path) -> None:
    graph = Graph().conv("pixels", "stem", inputs=3, gain=0.01)
    zero, six = graph.constant("zero", np.float32(0)), graph.constant("six", np.float32(6))
    graph.node("Clip", ["stem", zero, six], "light").conv("light", "next")
    graph.node("Clip", ["next", zero, six], "bright")
    rows = graph.constant("rows", np.array([0, 4, -1], np.int64))
    weights = [graph.constant(f"line{n}", np.full((4, 4, 3), 0.1, np.float32)) for n in range(2)]
    graph.node("Reshape", ["bright", rows], "row").node("Conv", ["row", weights[0]], "line").node(
        "Relu", ["line"], "on"
    )
    path = graph.node("Conv", ["on", weights[1]], "head").save(tmp_path / "m.onnx", "head")
    found = quantize(path, tmp_path / "q.onnx", "int8", target, activation_ranges(path, feeds, "minmax", "set"))
    kinds = Counter(node.op_type for node in onnx.load(str(found)).graph.node)
    assert kinds["Clip"] == (2 if target == "tensorrt" else 0), "ONNX Runtime needs none, TensorRT fuses it"
    expected, after = answers(path, feeds[0])["head"], answers(found, feeds[0])["head"]
    assert np.abs(after - expected).max() < 0.05 * np.abs(expected).max()


def test_control_flow_is_one_sentence(tmp_path: Path, feeds: list[Feed]) -> None:
    graph = Graph().conv("pixels", "stem", inputs=3)
    value = onnx.helper.make_tensor_value_info
    for name, kind in (("yes", "Relu"), ("no", "Neg")):
        body = [onnx.helper.make_node(kind, ["stem"], [f"{name}_out"])]
        branch = onnx.helper.make_graph(body, name, [], [value(f"{name}_out", 1, None)])
        setattr(graph, name, branch)
    always = graph.constant("always", np.array(True))
    graph.node("If", [always], "some", then_branch=graph.yes, else_branch=graph.no)
    path = graph.conv("some", "head").save(tmp_path / "m.onnx", "head")
    for precision in ("int8", "fp16"):
        with pytest.raises(
            ArtifactError, match=r"has control flow \(If\), which cannot be quantised; export it without"
        ):
            quantize(path, tmp_path / "q.onnx", precision, "tensorrt")
    with pytest.raises(ArtifactError, match="has control flow"):
        activation_ranges(path, feeds, "minmax", "set")
    assert not (tmp_path / "q.onnx").exists()


def test_batch_norm_is_folded_first(tmp_path: Path, feeds: list[Feed]) -> None:
    graph = Graph().conv("pixels", "stem", inputs=3, gain=0.01)
    random = np.random.default_rng(3)
    names = [
        graph.constant(name, random.uniform(0.5, 2, 4).astype(np.float32)) for name in ("gamma", "beta", "mean", "var")
    ]
    graph.node("BatchNormalization", ["stem", *names], "normal", epsilon=0.01).conv("normal", "next")
    source = graph.conv("next", "head").save(tmp_path / "norm.onnx", "head")
    path = quantize(source, tmp_path / "int8.onnx", "int8", "tensorrt", activation_ranges(source, feeds, "minmax", "s"))
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(path).graph.node}
    expected, found = (answers(file, feeds[0])["head"] for file in (source, path))
    assert np.abs(found - expected).mean() < 0.05 * np.abs(expected).mean()


@given(st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32), st.sampled_from(TARGETS), st.floats(0, 1))
def test_every_value_of_the_range_fits(a: float, b: float, target: str, where: float) -> None:
    """Quantised and back, a value inside the range is off by half a step at most, and zero is exact."""
    flavour = quant_scheme_of(target)
    low, high = min(a, b), max(a, b)
    scale, zero = activation_scale(low, high, flavour)
    lowest, highest = (0, 255) if flavour.activation == "uint8" else (-128, 127)
    assert scale > 0
    assert lowest <= zero <= highest
    value = low + where * (high - low)
    integer = np.clip(np.rint(value / scale) + zero, lowest, highest)
    assert abs((integer - zero) * scale - value) <= scale * 1.001
    assert zero == 0 or not flavour.symmetric


@given(st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4))
def test_weights_use_their_whole_range(row: list[float]) -> None:
    weight = np.array([row, [0, 0, 0, 0]], np.float32)
    scales = weight_scales(weight, 127)
    assert (scales > 0).all()
    assert np.abs(weight / scales[:, None]).max() <= 127.001
    assert np.isclose(np.abs(weight[0]).max(), 127 * scales[0]) or np.abs(weight[0]).max() < 1e-9
