"""Tiny models that answer from pixels in milliseconds, so that tests need no trained weights, and images for them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.evaluation.datasets import FaceSet, find_faces
from edgeface.imaging.geometry import template
from edgeface.spec.model import DETECTOR_KEY, MODEL_KEY, AlignmentSpec, DetectorSpec, ModelSpec, default_heads
from edgeface.types import Image

SIZE = 32
"""Crop side of the tiny attribute network in pixels."""
CELL = 32
"""The tiny detector's only stride with answers: a red square of this side, on this grid, is a face."""

_OUTPUTS = {"age": ["N"], "age_std": ["N"], "gender": ["N", 2], "race": ["N", 5]}


def tiny_spec(**changes: Any) -> ModelSpec:
    points = template(SIZE, 0.35, 0.55) / SIZE
    alignment = AlignmentSpec(tuple((float(x), float(y)) for x, y in points))
    spec = ModelSpec("tiny", SIZE, alignment, default_heads(), training={"data": "none"}, metrics={"age_mae": 12.5})
    return dataclasses.replace(spec, **changes)


def open_faces(path: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None) -> FaceSet:
    """The only set of labelled images at ``path``."""
    (found,) = find_faces([path], labels)
    return found


def convolutions(model: Path) -> list[str]:
    """Names of a model's convolutions from its input on; every export numbers them again."""
    onnx = pytest.importorskip("onnx", reason="the extra `dev` is not installed")
    return [node.name for node in onnx.load(str(model)).graph.node if node.op_type == "Conv"]


def write_tiny_model(path: Path, spec_json: str | None = None, heads: Iterable[str] = tuple(_OUTPUTS)) -> Path:
    """An attribute network: the brighter the older, the redder the likelier female, races by colour.

    ``spec_json`` replaces the spec in its metadata; an empty text leaves it out. It has only these ``heads``.
    """
    onnx = pytest.importorskip("onnx", reason="the extra `dev` is not installed")
    heads = tuple(heads)
    spec = tiny_spec(heads=tuple(head for head in default_heads() if head.name in heads))
    text = spec.to_json() if spec_json is None else spec_json
    node, init = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        node("Cast", ["crops"], ["pixels"], to=onnx.TensorProto.FLOAT),
        node("ReduceMean", ["pixels"], ["colour"], axes=[1, 2], keepdims=0),
        node("ReduceMean", ["colour"], ["level"], axes=[1], keepdims=0),
        node("Mul", ["level", "years"], ["age"]),
        node("Mul", ["age", "spread"], ["age_std"]),
        node("MatMul", ["colour", "gender_weights"], ["gender_logits"]),
        node("Softmax", ["gender_logits"], ["gender"], axis=1),
        node("MatMul", ["colour", "race_weights"], ["race_logits"]),
        node("Softmax", ["race_logits"], ["race"], axis=1),
    ]
    weights = {
        "years": np.float32(90 / 255),
        "spread": np.float32(0.1),
        "gender_weights": np.array([[0, 1], [0, -0.5], [0, -0.5]], np.float32) / 16,
        "race_weights": np.array([[1, 0, 0, 1, 0], [1, 0, 1, 0, 0], [1, 0, 0, 0, 1]], np.float32) / 32,
    }
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [_value(onnx, "crops", ["N", SIZE, SIZE, 3], onnx.TensorProto.UINT8)],
        [_value(onnx, name, shape) for name, shape in _OUTPUTS.items() if name in heads],
        [init(value, name) for name, value in weights.items()],
    )
    return _save(onnx, graph, path, {MODEL_KEY: text} if text else {})


def write_tiny_detector(path: Path, gain: float = 1.0) -> Path:
    """A detector of our own signature: a face, four cells wide, around each cell that is red; none with ``gain`` 0."""
    onnx = pytest.importorskip("onnx", reason="the extra `dev` is not installed")
    node, init = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        node("Cast", ["image"], ["pixels"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node("Conv", ["planes", "redness"], ["red"]),
    ]
    for stride in (8, 16, CELL):
        nodes += [
            node("AveragePool", ["red"], [f"mean{stride}"], kernel_shape=[stride, stride], strides=[stride, stride]),
            node("Flatten", [f"mean{stride}"], [f"flat{stride}"], axis=1),
            node("Mul", [f"flat{stride}", f"gain{stride}"], [f"score{stride}"]),
        ]
    nodes += [
        node("Concat", ["score8", "score16", "score32"], ["reds"], axis=1),
        node("Clip", ["reds", "zero", "one"], ["score"]),
        node("Unsqueeze", ["score", "last"], ["rows"]),
        node("Mul", ["rows", "zero"], ["nothing"]),
        node("Add", ["nothing", "reach"], ["box"]),
        node("Add", ["nothing", "offsets"], ["landmarks"]),
    ]
    points = template(4, 0.35, 0.55) - 2  # in strides from the anchor, inside a face of four strides
    weights = {
        "redness": np.array([1, -0.5, -0.5], np.float32).reshape(1, 3, 1, 1) / 200,
        "gain8": np.float32(0),
        "gain16": np.float32(0),
        "gain32": np.float32(gain),
        "zero": np.float32(0),
        "one": np.float32(1),
        "last": np.array([2], np.int64),
        "reach": np.full(4, 2, np.float32),
        "offsets": points.astype(np.float32).ravel(),
    }
    graph = onnx.helper.make_graph(
        nodes,
        "tiny-detector",
        [_value(onnx, "image", ["N", "H", "W", 3], onnx.TensorProto.UINT8)],
        [
            _value(onnx, "score", ["N", "A"]),
            _value(onnx, "box", ["N", "A", 4]),
            _value(onnx, "landmarks", ["N", "A", 10]),
        ],
        [init(value, name) for name, value in weights.items()],
    )
    return _save(onnx, graph, path, {DETECTOR_KEY: DetectorSpec("tiny-detector", upscale=1.0).to_json()})


def picture(cells: Iterable[tuple[int, int]] = ((2, 2),), width: int = 320, height: int = 256) -> Image:
    """A grey image, uint8 ``[height, width, 3]``, with a red square at each ``(column, row)`` of the grid."""
    pixels = np.full((height, width, 3), 96, np.uint8)
    for column, row in cells:
        pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = (250, 10, 10)
    return pixels


def write_picture(path: Path, pixels: Image | None = None) -> Path:
    """Encode ``pixels`` (RGB; one face by default) in the format of ``path``'s suffix."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray((picture() if pixels is None else pixels)[..., ::-1]))
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An attribute network's ONNX file with a valid spec."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def tiny_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector's ONNX file with a valid spec."""
    return write_tiny_detector(tmp_path_factory.mktemp("detector") / "tiny-detector.onnx")


def _value(onnx: Any, name: str, shape: list[Any], kind: int = 1) -> Any:
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def _save(onnx: Any, graph: Any, path: Path, metadata: dict[str, str]) -> Path:
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
