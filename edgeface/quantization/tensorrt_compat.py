"""The last step before TensorRT's parser: what some releases need otherwise than the file on disk has it."""

from __future__ import annotations

import os

import numpy as np

from edgeface.quantization.canonicalise import cast_first
from edgeface.quantization.graph import (
    GraphIndex,
    Model,
    Node,
    constant,
    copy_node,
    import_onnx,
    read_model,
    replace_nodes,
)


def onnx_for_tensorrt(path: str | os.PathLike[str], float_weights: bool = False) -> bytes:
    """The model at ``path`` as TensorRT's parser wants it, with the same answers, serialised.

    Pixels are cast before they are transposed, since uint8 tensors inside a network are refused. ``float_weights``
    stores 8-bit weights as floats with a Q/DQ pair, for parsers that take no int8 constants; every integer is the same.
    """
    model = read_model(path)
    cast_first(model)
    if float_weights:
        _widen_weights(model)
    return bytes(model.SerializeToString())


def _widen_weights(model: Model) -> None:
    index = GraphIndex(model)
    nodes: list[Node] = []
    for node in model.graph.node:
        twin = copy_node(node)
        if node.op_type == "DequantizeLinear" and node.input[0] in index.constants:
            nodes.append(_quantise(model, index, node, twin))
        nodes.append(twin)
    replace_nodes(model, nodes)


def _quantise(model: Model, index: GraphIndex, node: Node, twin: Node) -> Node:
    """A Q before ``twin`` that makes its integers out of a float constant."""
    integers, scales = index.array(node.input[0]), index.array(node.input[1])
    per_channel = scales.reshape(-1, *[1] * (integers.ndim - 1)) if scales.size > 1 else scales
    floats, output = f"{node.name}.float", f"{node.name}.int8"
    model.graph.initializer.append(constant(floats, (integers * per_channel).astype(np.float32)))
    twin.input[0] = output
    helper = import_onnx().helper
    return helper.make_node("QuantizeLinear", [floats, *node.input[1:]], [output], name=f"{node.name}.quantise", axis=0)
