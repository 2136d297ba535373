"""The shipped networks with the ranges of a few images, and small graphs for single rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.export.onnx_export import proof_crops
from edgeface.inference.detector import shipped_model
from edgeface.quantization.ranges import Ranges, activation_ranges
from edgeface.runtime.base import Feed
from edgeface.spec.metadata import model_spec
from edgeface.spec.model import MODEL_KEY
from tests.fixtures import tiny_spec

SIDE = 16


@pytest.fixture(scope="session")
def attributes() -> Path:
    return shipped_model("attributes.onnx")


@pytest.fixture(scope="session")
def crops(attributes: Path) -> np.ndarray:
    return proof_crops(model_spec(attributes).input_size)


@pytest.fixture(scope="session")
def attribute_ranges(attributes: Path, crops: np.ndarray) -> Ranges:
    pytest.importorskip("onnx", reason="the extra `quantize` is not installed")
    return activation_ranges(attributes, [{"crops": crops}], "minmax", "proof")


@pytest.fixture(scope="session")
def detector() -> Path:
    return shipped_model("detector.onnx")


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    return proof_crops(96)


@pytest.fixture(scope="session")
def detector_ranges(detector: Path, pictures: np.ndarray) -> Ranges:
    pytest.importorskip("onnx", reason="the extra `quantize` is not installed")
    return activation_ranges(detector, [{"image": pictures}], "minmax", "proof")


class Graph:
    """Builds a small network of uint8 pixels: ``Graph().conv("pixels", "a").relu("a", "b")…``."""

    def __init__(self) -> None:
        import onnx

        self.onnx, self.nodes, self.weights = onnx, [], []
        self.random = np.random.default_rng(0)
        self.node("Cast", ["image"], "floats", to=onnx.TensorProto.FLOAT)
        self.node("Transpose", ["floats"], "pixels", perm=[0, 3, 1, 2])

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> Graph:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return self

    def constant(self, name: str, values: Any) -> str:
        self.weights.append(self.onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def conv(self, source: str, output: str, channels: int = 4, inputs: int = 4, gain: float = 0.3) -> Graph:
        """A 3×3 convolution with bias that keeps height and width."""
        weight = (self.random.normal(size=(channels, inputs, 3, 3)) * gain).astype(np.float32)
        bias = self.random.normal(size=channels).astype(np.float32)
        names = [self.constant(f"{output}.weight", weight), self.constant(f"{output}.bias", bias)]
        return self.node("Conv", [source, *names], output, pads=[1, 1, 1, 1])

    def save(self, path: Path, output: str, opset: int = 17, kind: int = 2, spec: str | None = None) -> Path:
        value = self.onnx.helper.make_tensor_value_info
        graph = self.onnx.helper.make_graph(
            self.nodes,
            "small",
            [value("image", kind, ["N", SIDE, SIDE, 3])],
            [value(output, 1, None)],
            self.weights,
        )
        versions = {"": opset, **{node.domain: 1 for node in self.nodes if node.domain}}
        opsets = [self.onnx.helper.make_opsetid(*entry) for entry in versions.items()]
        model = self.onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
        text = tiny_spec().to_json() if spec is None else spec
        self.onnx.helper.set_model_props(model, {MODEL_KEY: text} if text else {})
        self.onnx.save(self.onnx.shape_inference.infer_shapes(model), str(path))
        return path


@pytest.fixture
def residual(tmp_path: Path) -> Path:
    """Stem, two residual blocks (the second's sum feeds only the head), and a convolution as head."""
    pytest.importorskip("onnx", reason="the extra `quantize` is not installed")
    graph = Graph().conv("pixels", "stem", inputs=3, gain=0.01).node("Relu", ["stem"], "skip1")
    graph.conv("skip1", "branch1").node("Add", ["skip1", "branch1"], "sum1").node("Relu", ["sum1"], "skip2")
    graph.conv("skip2", "branch2").node("Add", ["branch2", "skip2"], "sum2").node("Relu", ["sum2"], "last")
    return graph.conv("last", "head").save(tmp_path / "residual.onnx", "head")


@pytest.fixture
def feeds() -> list[Feed]:
    random = np.random.default_rng(1)
    return [{"image": random.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)} for _ in range(3)]


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend to run on another processor."""
    from edgeface.common import machine

    def pretend(architecture: str, *features: str) -> None:
        facts = {"architecture": architecture, "features": list(features), "name": "pretended"}
        monkeypatch.setattr(machine, "cpu", lambda: facts)

    return pretend
