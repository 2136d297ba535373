"""Writes the tiny models that the C++ tests run: real graphs with the contract's inputs, outputs and specs, 1 KB each.

    python -m cpp_demo.tests.make_tiny cpp_demo/tests/models

The detector finds bright cells of 32x32 pixels; the attribute network tells age from brightness, gender from red
against blue, race from the brightest colour. In the folder ``opencv`` are their variants for OpenCV's DNN module.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeface.export.opencv_variant import write_opencv_variant
from edgeface.imaging.geometry import template
from edgeface.spec.model import DETECTOR_KEY, MODEL_KEY, AlignmentSpec, DetectorSpec, ModelSpec, default_heads

STRIDE, SIZE = 32, 16


def detector() -> onnx.ModelProto:
    """score = sigmoid((brightness - 128) / 8); the cell is the box, landmarks are a frontal face's."""
    weights = np.zeros((15, 3, 1, 1), np.float32)
    weights[0] = 1 / 24
    bias = np.zeros(15, np.float32)
    bias[0] = -128 / 8
    bias[1:5] = 0.5
    bias[5:] = (template(1, 0.4, 0.5) - 0.5).ravel()
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2),
        helper.make_node("Conv", ["cells", "weights", "bias"], ["maps"], kernel_shape=[1, 1]),
        helper.make_node("Reshape", ["maps", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["rows", "zero", "one", "last"], ["logits"]),
        helper.make_node("Slice", ["rows", "one", "five", "last"], ["box"]),
        helper.make_node("Slice", ["rows", "five", "end", "last"], ["landmarks"]),
        helper.make_node("Sigmoid", ["logits"], ["chance"]),
        helper.make_node("Reshape", ["chance", "row"], ["score"]),
    ]
    constants = {
        "weights": weights,
        "bias": bias,
        "flat": np.array([0, 15, -1]),
        "zero": np.array([0]),
        "one": np.array([1]),
        "five": np.array([5]),
        "end": np.array([15]),
        "last": np.array([2]),
        "row": np.array([0, -1]),
    }
    spec = DetectorSpec("tiny-detector", strides=(STRIDE,), longest_px=128, upscale=1.0, nms_iou=0.3)
    outputs = [("score", ["N", "A"]), ("box", ["N", "A", 4]), ("landmarks", ["N", "A", 10])]
    return model(nodes, constants, ("image", ["N", "H", "W", 3]), outputs, {DETECTOR_KEY: spec.to_json()})


def attributes() -> onnx.ModelProto:
    """age = 100 times the mean brightness; classes by a softmax over the three mean colours."""
    gender = np.array([[8, 0], [0, 0], [0, 8]], np.float32)
    race = np.array([[8, 0, 0, 0, 0], [0, 8, 0, 0, 0], [0, 0, 8, 0, 0]], np.float32)
    nodes = [
        helper.make_node("Cast", ["crops"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["means", "full"], ["colours"]),
        helper.make_node("ReduceMean", ["colours"], ["brightness"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["brightness", "hundred"], ["age"]),
        helper.make_node("Mul", ["brightness", "ten"], ["age_std"]),
        helper.make_node("MatMul", ["colours", "to_gender"], ["genders"]),
        helper.make_node("MatMul", ["colours", "to_race"], ["races"]),
        helper.make_node("Softmax", ["genders"], ["gender"], axis=1),
        helper.make_node("Softmax", ["races"], ["race"], axis=1),
    ]
    constants = {
        "full": np.float32(255),
        "hundred": np.float32(100),
        "ten": np.float32(10),
        "to_gender": gender,
        "to_race": race,
    }
    points = tuple((float(x), float(y)) for x, y in template(1, 0.4, 0.5))
    spec = ModelSpec("tiny-attributes", SIZE, AlignmentSpec(points), default_heads())
    outputs = [("age", ["N"]), ("age_std", ["N"]), ("gender", ["N", 2]), ("race", ["N", 5])]
    return model(nodes, constants, ("crops", ["N", SIZE, SIZE, 3]), outputs, {MODEL_KEY: spec.to_json()})


def model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Any],
    given: tuple[str, list[Any]],
    outputs: list[tuple[str, list[Any]]],
    metadata: dict[str, str],
) -> onnx.ModelProto:
    """A checked model of opset 17 with the input ``given`` in uint8 and ``outputs`` in float32: names and shapes."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(given[0], TensorProto.UINT8, given[1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, metadata)
    onnx.checker.check_model(made)
    return made


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "opencv").mkdir(parents=True, exist_ok=True)
    for name, made in (("detector.onnx", detector()), ("attributes.onnx", attributes())):
        onnx.save(made, folder / name)
        write_opencv_variant(folder / name, folder / "opencv" / name)
