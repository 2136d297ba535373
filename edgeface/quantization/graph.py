"""ONNX graphs as quantisation needs them: loading with checks, who makes and who reads a tensor, small rewrites."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.common.install import missing
from edgeface.errors import ArtifactError, SpecError
from edgeface.spec.model import DETECTOR_KEY, MODEL_KEY, DetectorSpec, ModelSpec, PrecisionSpec

Node = Any
"""An ``onnx.NodeProto``; the onnx package is imported on use, so it cannot be named here."""
Model = Any
"""An ``onnx.ModelProto``."""

_QUANTISED_OPS = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")


def import_onnx() -> Any:
    """The onnx package with the modules used here. Raises ``MissingDependencyError``."""
    try:
        onnx = importlib.import_module("onnx")
        for module in ("checker", "helper", "numpy_helper", "shape_inference"):
            importlib.import_module(f"onnx.{module}")
    except ImportError as error:
        raise missing("onnx", "quantize", "quantising a model") from error
    return onnx


def read_model(path: str | os.PathLike[str]) -> Model:
    """An ONNX file as a ``ModelProto``. Raises ``ArtifactError`` where it is missing, damaged or not ONNX."""
    onnx = import_onnx()
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read model `{path}`: {error.strerror or error}") from error
    try:
        model = onnx.ModelProto.FromString(content)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's errors share no base class
        raise ArtifactError(f"`{path}` is not an ONNX model or is damaged; copy or export it again") from error
    return model


def read_float_model(path: str | os.PathLike[str]) -> Model:
    """An edgeface model that may be quantised: float32 inside, uint8 pixels in, our spec in its metadata.

    Raises ``ArtifactError`` for one that already is quantised or takes floats, ``SpecError`` for one without a spec.
    """
    model = read_model(path)
    onnx = import_onnx()
    float16 = onnx.TensorProto.FLOAT16
    quantised = any(node.op_type in _QUANTISED_OPS for node in model.graph.node)
    if quantised or any(tensor.data_type == float16 for tensor in model.graph.initializer):
        raise ArtifactError(f"`{path}` is already quantised; start from the float model it was made from")
    for node in model.graph.node:
        if any(item.type in (item.GRAPH, item.GRAPHS) for item in node.attribute):
            raise ArtifactError(
                f"`{path}` has control flow ({node.op_type}), which cannot be quantised; export it without"
            )
    for value in model.graph.input:
        kind = value.type.tensor_type.elem_type
        if kind != onnx.TensorProto.UINT8:
            name = onnx.helper.tensor_dtype_to_np_dtype(kind).name
            raise ArtifactError(
                f"`{path}` takes {name} as `{value.name}`, expected uint8 pixels: quantising would leave its "
                "normalisation to the caller; export the model again with edgeface export"
            )
    if spec_of(model, f"`{path}`").precision is not None:
        raise ArtifactError(f"`{path}` is already quantised; start from the float model it was made from")
    return model


def spec_of(model: Model, where: str) -> ModelSpec | DetectorSpec:
    """The spec in the metadata. Raises ``SpecError`` where there is none."""
    metadata = {item.key: item.value for item in model.metadata_props}
    if MODEL_KEY in metadata:
        return ModelSpec.from_json(metadata[MODEL_KEY], where)
    if DETECTOR_KEY in metadata:
        return DetectorSpec.from_json(metadata[DETECTOR_KEY], where)
    raise SpecError(
        f"{where} has neither `{MODEL_KEY}` nor `{DETECTOR_KEY}` in its metadata, so it is no edgeface model; "
        "make one with: edgeface export"
    )


def write_precision(model: Model, where: str, precision: PrecisionSpec) -> None:
    """Record ``precision`` in the spec inside the metadata."""
    spec = dataclasses.replace(spec_of(model, where), precision=precision)
    key = MODEL_KEY if isinstance(spec, ModelSpec) else DETECTOR_KEY
    for item in model.metadata_props:
        if item.key == key:
            item.value = spec.to_json()


@dataclass
class GraphIndex:
    """Who makes and who reads each tensor. Valid until the graph changes."""

    model: Model
    producers: dict[str, Node] = field(default_factory=dict)
    consumers: dict[str, list[tuple[Node, int]]] = field(default_factory=lambda: defaultdict(list))
    constants: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.constants.update((tensor.name, tensor) for tensor in self.model.graph.initializer)
        self.outputs = {value.name for value in self.model.graph.output}
        for node in self.model.graph.node:
            self.producers.update((name, node) for name in node.output)
            for position, name in enumerate(node.input):
                if name:
                    self.consumers[name].append((node, position))

    def array(self, name: str) -> NDArray[Any]:
        """The values of a constant."""
        return np.asarray(import_onnx().numpy_helper.to_array(self.constants[name]))

    def only_consumer(self, name: str) -> Node | None:
        """The one node that reads ``name``; ``None`` where there are several, none, or it is a graph output."""
        readers = self.consumers[name]
        return readers[0][0] if len(readers) == 1 and name not in self.outputs else None

    def activated(self, name: str) -> str:
        """The output of the Relu or ReLU6 (a Clip from zero) that is the only reader of ``name``, else ``name``."""
        reader = self.only_consumer(name)
        return str(reader.output[0]) if reader is not None and self.clips_at_zero(reader) else name

    def clips_at_zero(self, node: Node) -> bool:
        """Whether ``node`` is a Relu, or a Clip that lets nothing below zero through and whose bounds are constants."""
        if node.op_type == "Relu":
            return True
        bounds = list(node.input[1:])
        constant = node.op_type == "Clip" and bounds and all(not name or name in self.constants for name in bounds)
        return bool(constant and bounds[0] and self.array(bounds[0]) == 0)

    def downstream_of(self, op_types: Collection[str]) -> set[str]:
        """Tensors that depend on an output of such a node, those outputs included."""
        reached: set[str] = set()
        for node in self.model.graph.node:
            if node.op_type in op_types or reached.intersection(node.input):
                reached.update(node.output)
        return reached

    def upstream_of(self, op_types: Collection[str]) -> set[str]:
        """Tensors that an input of such a node depends on, those inputs included."""
        reached: set[str] = set()
        for node in reversed(self.model.graph.node):
            if node.op_type in op_types or reached.intersection(node.output):
                reached.update(name for name in node.input if name)
        return reached


def attribute(node: Node, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    for item in node.attribute:
        if item.name == name:
            return import_onnx().helper.get_attribute_value(item)
    return default


def constant(name: str, values: NDArray[Any]) -> Any:
    """An initializer."""
    return import_onnx().numpy_helper.from_array(np.asarray(values, order="C"), name)  # a scalar stays one


def copy_node(node: Node) -> Node:
    """A copy that outlives the graph ``node`` is in."""
    twin = import_onnx().NodeProto()
    twin.CopyFrom(node)
    return twin


def replace_nodes(model: Model, nodes: Iterable[Node]) -> None:
    """Put ``nodes`` in the place of all nodes, and drop the constants that no one reads any more."""
    kept = list(nodes)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    read = {name for node in kept for name in node.input} | {value.name for value in model.graph.output}
    used = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(used)
