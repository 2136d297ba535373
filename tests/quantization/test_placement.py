from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.errors import ConfigError
from edgeface.quantization.canonicalise import prepare
from edgeface.quantization.graph import GraphIndex, read_float_model
from edgeface.quantization.placement import Plan, plan, quantisable_layers
from edgeface.spec.precision import quant_scheme_of
from tests.quantization.conftest import Graph


def placed(path: Path, target: str, keep: tuple[str, ...] = ()) -> Plan:
    model = read_float_model(path)
    prepare(model)
    return plan(GraphIndex(model), quant_scheme_of(target), keep)


def test_heads_stay_in_float(attributes: Path, detector: Path, residual: Path) -> None:
    """A head is a convolution that no other one follows: the position pool, the detector's outputs."""
    model = read_float_model(attributes)
    assert len(quantisable_layers(GraphIndex(model))) == 29
    pooled = next(node for node in model.graph.node if node.input[1:2] == ["net.pool.conv.weight"])
    assert pooled.name not in quantisable_layers(GraphIndex(model))
    assert len(placed(detector, "tensorrt").layers) == 60 - 9, "three scales of score, shape and refined points"
    assert placed(residual, "tensorrt").layers == ["stem", "branch1", "branch2"]


def test_tensorrt_quantises_the_skip_branch_only(residual: Path) -> None:
    """Conv, Add and Relu fuse if nothing lies between them, and the sum is 8-bit only if its skip branch is."""
    assert placed(residual, "tensorrt").pairs == {
        "pixels": [("stem", 0)],
        "skip1": [("branch1", 0), ("sum1", 0)],
        "skip2": [("branch2", 0)],  # sum2 feeds a float head, so its skip branch stays float
    }


def test_onnxruntime_quantises_what_goes_in_and_out(residual: Path) -> None:
    assert placed(residual, "cpu-x86").pairs == {
        "pixels": [("stem", 0)],
        "skip1": [("branch1", 0), ("sum1", 0)],
        "skip2": [("branch2", 0), ("sum2", 1)],
        "branch1": [("sum1", 1)],
        "branch2": [("sum2", 0)],
    }


def test_of_two_convolved_branches_the_later_one_is_fused(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    graph = Graph().conv("pixels", "stem", inputs=3).conv("stem", "shortcut").conv("stem", "branch")
    graph.node("Add", ["branch", "shortcut"], "sum").conv("sum", "next").conv("next", "head")
    pairs = placed(graph.save(tmp_path / "m.onnx", "head"), "tensorrt").pairs
    assert pairs["shortcut"] == [("sum", 1)]
    assert "branch" not in pairs


def test_relu6_is_an_activation_like_relu(tmp_path: Path) -> None:
    """Between a convolution and its ReLU6 lies no pair; a Clip with another lower end is none of its kind."""
    import numpy as np

    graph = Graph().conv("pixels", "stem", inputs=3)
    zero, six = graph.constant("zero", np.float32(0)), graph.constant("six", np.float32(6))
    less = graph.constant("less", np.float32(-1))
    graph.node("Clip", ["stem", zero, six], "first").conv("first", "inner")
    graph.node("Clip", ["inner", less, six], "second").conv("second", "next").conv("next", "head")
    path = graph.save(tmp_path / "m.onnx", "head")
    assert list(placed(path, "tensorrt").pairs) == ["pixels", "first", "second"]
    assert set(placed(path, "cpu-x86").pairs) == {"pixels", "first", "second", "inner", "next"}


def test_a_copying_node_is_quantised_at_its_input(tmp_path: Path) -> None:
    """Nearest-neighbour Resize: one pair before it under TensorRT, the same scale on both sides for ONNX Runtime."""
    import numpy as np

    graph = Graph().conv("pixels", "stem", inputs=3).conv("stem", "fine").conv("stem", "coarse")
    sizes = graph.constant("sizes", np.array([1, 1, 1, 1], np.float32))
    graph.node("Resize", ["coarse", "", sizes], "large", mode="nearest").node("Add", ["fine", "large"], "sum")
    path = graph.conv("sum", "next").conv("next", "head").save(tmp_path / "m.onnx", "head")
    tensorrt, x86 = placed(path, "tensorrt"), placed(path, "cpu-x86")
    assert tensorrt.pairs["coarse"] == [("large", 0)]
    assert "large" not in tensorrt.pairs
    assert x86.pairs["large"] == [("sum", 1)]
    assert x86.root("large") == "coarse"


def test_layers_kept_in_float(residual: Path) -> None:
    kept = placed(residual, "tensorrt", ("branch1",))
    assert kept.layers == ["stem", "branch2"]
    assert kept.pairs == {"pixels": [("stem", 0)], "skip2": [("branch2", 0)]}
    with pytest.raises(ConfigError, match="no layer `brunch1` to keep in float; the nearest name is `branch1`"):
        placed(residual, "cpu-x86", ("brunch1",))
