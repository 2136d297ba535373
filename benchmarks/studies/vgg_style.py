"""The yardstick network: a VGG-style CNN as published notebooks train it, with random weights (only its cost counts).

Five blocks of 3×3 convolution (32, 64, 128, 256, 512 channels), batch normalisation, ReLU and 2×2 max pooling on a
200×200 image, global average pooling, and three linear heads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 200
CHANNELS = (32, 64, 128, 256, 512)
HEADS = {"age": 1, "gender": 2, "race": 5}


def write_vgg_style(path: Path) -> Path:
    """Write the yardstick as ONNX (opset 17): input ``picture`` float32 ``[N, 3, 200, 200]``."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def constant(name: str, shape: tuple[int, ...], scale: float, shift: float = 0.0) -> str:
        weights.append(numpy_helper.from_array((rng.normal(0, scale, shape) + shift).astype(np.float32), name))
        return name

    value, inputs = "picture", 3
    for block, outputs in enumerate(CHANNELS):
        kernel = constant(f"w{block}", (outputs, inputs, 3, 3), (2 / (9 * inputs)) ** 0.5)
        norm = [constant(f"{part}{block}", (outputs,), 0.01, float(part in "gv")) for part in "gbmv"]
        nodes += [
            helper.make_node("Conv", [value, kernel], [f"conv{block}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", [f"conv{block}", *norm], [f"norm{block}"]),
            helper.make_node("Relu", [f"norm{block}"], [f"relu{block}"]),
            helper.make_node("MaxPool", [f"relu{block}"], [f"pool{block}"], kernel_shape=[2, 2], strides=[2, 2]),
        ]
        value, inputs = f"pool{block}", outputs
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["gap"]),
        helper.make_node("Flatten", ["gap"], ["features"]),
    ]
    nodes += [
        helper.make_node("Gemm", ["features", constant(f"w_{head}", (inputs, size), 0.05)], [head])
        for head, size in HEADS.items()
    ]
    source = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])
    answers = [helper.make_tensor_value_info(head, TensorProto.FLOAT, ["N", size]) for head, size in HEADS.items()]
    graph = helper.make_graph(nodes, "vgg_style", [source], answers, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
