"""A tiny network with one convolution, whose activation is the mean colour's scaled level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeface.spec.model import MODEL_KEY
from tests.fixtures import SIZE, tiny_spec


def write_conv_model(path: Path) -> Path:
    """Crops → Cast → Transpose → 1×1 Conv (mean of the colours) → Relu → the four heads' outputs."""
    onnx = pytest.importorskip("onnx", reason="the extra `dev` is not installed")
    node, init, value = onnx.helper.make_node, onnx.numpy_helper.from_array, onnx.helper.make_tensor_value_info
    nodes = [
        node("Cast", ["crops"], ["pixels"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node("Conv", ["planes", "weight"], ["grey"]),
        node("Relu", ["grey"], ["light"]),
        node("ReduceMean", ["light"], ["level"], axes=[2, 3], keepdims=0),
        node("Squeeze", ["level", "one"], ["age"]),
        node("Mul", ["age", "age"], ["age_std"]),
        node("Concat", ["level", "level"], ["gender"], axis=1),
        node("Concat", ["level"] * 5, ["race"], axis=1),
    ]
    outputs = {"age": ["N"], "age_std": ["N"], "gender": ["N", 2], "race": ["N", 5]}
    graph = onnx.helper.make_graph(
        nodes,
        "conv",
        [value("crops", onnx.TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [value(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [init(np.full((1, 3, 1, 1), 1 / 3, np.float32), "weight"), init(np.array([1], np.int64), "one")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, {MODEL_KEY: tiny_spec().to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
