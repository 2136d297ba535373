"""Typed 16-bit graphs: weights and inner activations in float16, the ends of the network in float32.

TensorRT 11 builds what the graph says ("strong typing"), so the precision has to be in the graph. Pixels are normalised
and answers computed (softmax, expectation, variance) in float32: they cost nothing, and a variance as the small
difference of large sums is what eleven bits get wrong.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from edgeface.errors import ConfigError
from edgeface.quantization.graph import GraphIndex, Model, Node, constant, copy_node, import_onnx, replace_nodes
from edgeface.quantization.placement import check_names

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ANY_TYPE = ("Shape", "Size")
_FLOAT32_ONLY = {"Resize": (2,)}
"""Inputs that the operator wants in float32 whatever its data are: Resize's scales."""
_LARGEST = float(np.finfo(np.float16).max)


def fp16_from_onnx(model: Model, keep_float: Collection[str] = ()) -> None:
    """Turn a prepared float ``model`` into a typed float16 one, in place; nodes in ``keep_float`` stay float32.

    16-bit are all layers with weights and everything between them. Raises ``ConfigError`` for an unknown name or a
    constant beyond float16's range.
    """
    index = GraphIndex(model)
    check_names(index, keep_float)
    floats = _float_tensors(index)
    nodes = _half_nodes(index, set(keep_float), floats)
    if not nodes:
        raise ConfigError("no layer is left to make 16-bit: the model has no layer with weights, or all are kept")
    _Writer(index, nodes, floats).write()


def _float_tensors(index: GraphIndex) -> set[str]:
    """Names of the float32 tensors that nodes compute; shapes, indices and masks are none."""
    onnx = import_onnx()
    inferred = onnx.shape_inference.infer_shapes(index.model).graph
    values = (*inferred.value_info, *inferred.output)
    return {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}


def _half_nodes(index: GraphIndex, keep_float: set[str], floats: set[str]) -> set[str]:
    before, after = index.upstream_of(_WEIGHTED), index.downstream_of(_WEIGHTED)
    return {
        node.name
        for node in index.model.graph.node
        if node.name not in keep_float
        and node.output[0] in floats
        and (node.op_type in _WEIGHTED or (node.output[0] in before and node.output[0] in after))
    }


class _Writer:
    """Writes one graph: casts where a value crosses between the precisions, each at most once."""

    def __init__(self, index: GraphIndex, half_nodes: set[str], floats: set[str]) -> None:
        self.index, self.half_nodes, self.floats = index, half_nodes, floats
        self.half_tensors = {name for name in floats if index.producers[name].name in half_nodes}
        self.made: set[str] = set()
        self.out: list[Node] = []

    def write(self) -> None:
        model = self.index.model
        for node in model.graph.node:
            twin = copy_node(node)
            for position, name in enumerate(node.input):
                if name:
                    twin.input[position] = self._read(node, position, name)
            outputs = [name for name in node.output if name in self.half_tensors and name in self.index.outputs]
            for position, name in enumerate(node.output):
                if name in outputs:
                    twin.output[position] = _half(name)
            self.out.append(twin)
            for name in outputs:
                self._cast(_half(name), name, "FLOAT")
        replace_nodes(model, self.out)

    def _read(self, node: Node, position: int, name: str) -> str:
        """What ``node`` has to read in the place of ``name``."""
        in_half = node.name in self.half_nodes and position not in _FLOAT32_ONLY.get(node.op_type, ())
        stored_half = name in self.half_tensors
        source = _half(name) if stored_half and name in self.index.outputs else name
        if node.op_type in _ANY_TYPE or in_half == stored_half:
            return source
        if not in_half:
            target = name if name in self.index.outputs else f"{name}.f32"
            return target if name in self.index.outputs else self._cast(source, target, "FLOAT")
        if name in self.index.constants:
            return self._half_constant(name)
        return self._cast(name, _half(name), "FLOAT16") if name in self.floats else name

    def _cast(self, source: str, target: str, kind: str) -> str:
        if target not in self.made:
            helper, types = import_onnx().helper, import_onnx().TensorProto
            self.out.append(
                helper.make_node("Cast", [source], [target], name=f"cast.{target}", to=getattr(types, kind))
            )
            self.made.add(target)
        return target

    def _half_constant(self, name: str) -> str:
        values = self.index.array(name)
        if values.dtype != np.float32:
            return name
        target = _half(name)
        if target not in self.made:
            if np.abs(values).max(initial=0.0) > _LARGEST:
                raise ConfigError(f"constant `{name}` is beyond float16's {_LARGEST:g}; keep its layer in float")
            self.index.model.graph.initializer.append(constant(target, values.astype(np.float16)))
            self.made.add(target)
        return target


def _half(name: str) -> str:
    return f"{name}.f16"
