"""Which layers become 8-bit and where Q/DQ pairs go, so that the runtime fuses everything in between.

Two runtimes, two sets of rules. TensorRT (explicit quantization, "Q/DQ layer-placement recommendations" of its
developer guide): quantise the inputs of a convolution; of a residual Add only the skip branch, so that Conv, Add and
Relu become one kernel; nothing between a Conv and its Relu or Add. ONNX Runtime: a convolution becomes QLinearConv only
if its output, after a Relu, is quantised too; an Add becomes QLinearAdd if both inputs and the output are.

Heads stay in float under both: every convolution that no other convolution follows, and all that is no convolution.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field

from edgeface.errors import ConfigError
from edgeface.quantization.graph import GraphIndex, Model, Node, attribute
from edgeface.spec.precision import QuantScheme

_CONV = "Conv"
_FLOAT = 1


@dataclass
class Plan:
    """``layers``: names of the convolutions to quantise. ``pairs``: tensor → its readers that take the 8-bit value
    (node name, input position). ``tied``: tensor → the tensor whose scale it shares, since a copying node links them.
    """

    layers: list[str] = field(default_factory=list)
    pairs: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)

    def root(self, name: str) -> str:
        """The tensor whose range decides the scale of ``name``."""
        while name in self.tied:
            name = self.tied[name]
        return name

    def add(self, tensor: str, reader: Node, position: int) -> None:
        readers = self.pairs.setdefault(tensor, [])
        if (reader.name, position) not in readers:
            readers.append((reader.name, position))


def quantisable_layers(index: GraphIndex) -> list[str]:
    """Names of the convolutions that may become 8-bit, in graph order."""
    return [node.name for node in quantisable_layers_of(index.model)]


def quantisable_layers_of(model: Model) -> list[Node]:
    """The convolutions that may become 8-bit, in graph order."""
    index = GraphIndex(model)
    feeds_conv = index.upstream_of((_CONV,))
    return [
        node
        for node in index.model.graph.node
        if node.op_type == _CONV
        and node.input[1] in index.constants
        and index.constants[node.input[1]].data_type == _FLOAT
        and node.output[0] in feeds_conv
    ]


def plan(index: GraphIndex, flavour: QuantScheme, keep_float: Collection[str] = ()) -> Plan:
    """Layers and pairs for ``flavour``; nodes named in ``keep_float`` stay in float.

    Raises ``ConfigError`` for a name that no node has.
    """
    check_names(index, keep_float)
    layers = [name for name in quantisable_layers(index) if name not in set(keep_float)]
    out = Plan(layers)
    for node in index.model.graph.node:
        if node.name in layers:
            out.add(node.input[0], node, 0)
    place = _for_tensorrt if flavour.fused_by == "tensorrt" else _for_onnxruntime
    place(index, out, set(keep_float))
    return out


def check_names(index: GraphIndex, names: Collection[str]) -> None:
    """Raise ``ConfigError`` naming the nearest where a name is not that of a node."""
    known = [node.name for node in index.model.graph.node]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0)[0]
            raise ConfigError(f"no layer `{name}` to keep in float; the nearest name is `{near}`")


def _for_tensorrt(index: GraphIndex, plan: Plan, keep_float: set[str]) -> None:
    """Quantise the skip branch of each residual Add whose sum is quantised further on."""
    for node in index.model.graph.node:
        if node.op_type != "Add" or node.name in keep_float:
            continue
        if index.activated(node.output[0]) not in plan.pairs:
            continue  # a float sum: fusing wants a float skip branch, too
        branch = _fused_branch(index, plan, node)
        if branch is not None and node.input[1 - branch] not in index.constants:
            _quantise_skip(index, plan, node, 1 - branch)


def _fused_branch(index: GraphIndex, plan: Plan, add: Node) -> int | None:
    """Which input of ``add`` ends in an 8-bit convolution of its own; of two, the one that is computed last."""
    nodes = [node.name for node in index.model.graph.node]
    found = []
    for position, name in enumerate(add.input):
        maker = index.producers.get(name)
        while maker is not None and index.clips_at_zero(maker) and index.only_consumer(maker.output[0]) is not None:
            maker = index.producers.get(maker.input[0])
        if maker is not None and maker.name in plan.layers and index.only_consumer(maker.output[0]) is not None:
            found.append((nodes.index(maker.name), position))
    return max(found)[1] if found else None


def _quantise_skip(index: GraphIndex, plan: Plan, reader: Node, position: int) -> None:
    """A pair on an input; above a node that only copies values it costs less and shares the pair that is there."""
    maker = index.producers.get(reader.input[position])
    if maker is not None and _copies(maker) and index.only_consumer(maker.output[0]) is not None:
        _quantise_skip(index, plan, maker, 0)
    else:
        plan.add(reader.input[position], reader, position)


def _for_onnxruntime(index: GraphIndex, plan: Plan, keep_float: set[str]) -> None:
    """Close the set of 8-bit tensors over convolutions, copying nodes and Adds; all their readers take the 8-bit."""
    eight_bit = set(plan.pairs)
    wanted = index.upstream_of((_CONV,))
    for node in index.model.graph.node:
        if node.name in plan.layers:
            eight_bit.add(index.activated(node.output[0]))
        elif _copies(node) and node.input[0] in eight_bit and node.output[0] in wanted:
            eight_bit.add(node.output[0])
            plan.tied[node.output[0]] = node.input[0]
        elif node.op_type == "Add" and node.name not in keep_float and eight_bit.issuperset(node.input):
            total = index.activated(node.output[0])
            if any(reader.name in plan.layers or reader.op_type == "Add" for reader, _ in index.consumers[total]):
                eight_bit.add(total)
    for node in index.model.graph.node:
        for position, name in enumerate(node.input):
            if name in eight_bit:
                plan.add(name, node, position)


def _copies(node: Node) -> bool:
    """Whether every output value is one of the input's, so that quantising before or after is the same."""
    if node.op_type == "Resize":
        return bool(attribute(node, "mode", b"nearest") == b"nearest")
    return node.op_type in ("MaxPool", "Transpose", "Reshape", "Flatten", "Identity")
