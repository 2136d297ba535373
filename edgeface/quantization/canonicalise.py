"""What is done to a float graph before its precision changes; the answers stay the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeface.quantization.graph import GraphIndex, Model, Node, attribute, constant, copy_node, replace_nodes


def prepare(model: Model) -> None:
    """Name every node, make constants of Constant nodes, fold BatchNormalization, cast pixels first."""
    _name_nodes(model)
    _lift_constants(model)
    _fold_batch_norms(model)
    cast_first(model)
    del model.graph.value_info[:]


def cast_first(model: Model) -> None:
    """Swap a Transpose of the uint8 input with the Cast after it; who asks for the input's shape then asks the Cast.

    TensorRT 8.6 and later allow uint8 for the network's own inputs and outputs only, nowhere in between.
    """
    index = GraphIndex(model)
    for value in model.graph.input:
        readers = index.consumers[value.name]
        for transpose in [reader for reader, _ in readers if reader.op_type == "Transpose"]:
            cast = index.only_consumer(transpose.output[0])
            if cast is not None and cast.op_type == "Cast":
                asking = [reader for reader, _ in readers if reader.op_type == "Shape"]
                _swap(model, value.name, transpose, cast, asking)
                break


def _swap(model: Model, source: str, transpose: Node, cast: Node, asking: Sequence[Node]) -> None:
    between, after = transpose.output[0], cast.output[0]
    cast.input[0], cast.output[0] = source, between
    transpose.input[0], transpose.output[0] = between, after
    for node in asking:
        node.input[0] = between
    nodes = list(model.graph.node)
    nodes.insert(0, nodes.pop(nodes.index(cast)))  # before all who read it now
    del model.graph.value_info[:]  # the tensor between them is a float one now
    replace_nodes(model, [copy_node(node) for node in nodes])


def _name_nodes(model: Model) -> None:
    """Unique names, since layers are kept in float by name."""
    taken = {node.name for node in model.graph.node if node.name}
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            name = f"{node.op_type}_{number}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)


def _lift_constants(model: Model) -> None:
    nodes = []
    for node in model.graph.node:
        tensor = attribute(node, "value") if node.op_type == "Constant" else None
        if tensor is None:
            nodes.append(copy_node(node))
            continue
        tensor.name = node.output[0]
        model.graph.initializer.append(tensor)
    replace_nodes(model, nodes)


def _fold_batch_norms(model: Model) -> None:
    """Multiply a BatchNormalization into the Conv before it; TensorRT wants none between Conv and the next Q."""
    index = GraphIndex(model)
    nodes, gone = [], set()
    for node in model.graph.node:
        if node.name in gone:
            continue
        norm = index.only_consumer(node.output[0]) if node.op_type == "Conv" else None
        known = norm is not None and index.constants.keys() >= {*node.input[1:], *norm.input[1:]}
        if norm is not None and norm.op_type == "BatchNormalization" and known:
            nodes.append(_folded(model, index, node, norm))
            gone.add(norm.name)
        else:
            nodes.append(copy_node(node))
    replace_nodes(model, nodes)


def _folded(model: Model, index: GraphIndex, conv: Node, norm: Node) -> Node:
    """Ioffe and Szegedy, 2015: gamma (x - mean) / sqrt(var + eps) + beta, as one scale and shift a channel."""
    gamma, beta, mean, variance = (index.array(name).astype(np.float64) for name in norm.input[1:5])
    scale = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    weight = index.array(conv.input[1]) * scale.reshape(-1, *[1] * (len(index.constants[conv.input[1]].dims) - 1))
    bias = index.array(conv.input[2]) if len(conv.input) > 2 and conv.input[2] else np.zeros(len(scale))
    names = [f"{conv.name}.folded_weight", f"{conv.name}.folded_bias"]
    for name, values in zip(names, (weight, (bias - mean) * scale + beta)):
        model.graph.initializer.append(constant(name, values.astype(np.float32)))
    folded = copy_node(conv)
    del folded.input[1:]
    folded.input.extend(names)
    folded.output[0] = norm.output[0]
    return folded
