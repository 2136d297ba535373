"""An attribute network's graph cut at its last feature map, and which of its answers are linear in that map."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgeface.common.install import missing
from edgeface.errors import ArtifactError, MissingDependencyError
from edgeface.quantization.graph import (
    GraphIndex,
    Model,
    Node,
    copy_node,
    import_onnx,
    read_model,
    replace_nodes,
    spec_of,
)
from edgeface.spec.model import ModelSpec

HEADS = ("age", "gender", "race")
_LINEAR = frozenset(
    ("Add", "AveragePool", "BatchNormalization", "Cast", "Concat", "Conv", "Div", "Dropout", "Flatten", "Gather")
    + ("Gemm", "GlobalAveragePool", "Identity", "MatMul", "Mul", "Neg", "ReduceMean", "ReduceSum", "Reshape", "Slice")
    + ("Squeeze", "Sub", "Transpose", "Unsqueeze")
)
_SUMS = frozenset(("Add", "Sub", "Concat"))
"""Linear in all their inputs together; the other operators in one at a time."""
_SQUASHING = ("Softmax", "LogSoftmax", "Sigmoid")


class Target(NamedTuple):
    """A head, the tensor of its answer (logits; for age the age), and whether the map yields that linearly."""

    head: str
    tensor: str
    affine: bool


class Parts(NamedTuple):
    """The network up to its last feature map, from there on to the tensors of ``targets``, and these."""

    trunk: Model
    tail: Model
    targets: tuple[Target, ...]


def read_network(path: Path) -> tuple[Model, ModelSpec]:
    """An attribute network's float32 or 8-bit graph and its spec; the errors are
    ``edgeface.explain.explainer.Explainer``'s."""
    try:
        onnx = import_onnx()
    except MissingDependencyError as error:
        raise missing("onnx", "quantize", "explaining an answer") from error
    if path.suffix.lower() != ".onnx":
        raise ArtifactError(f"`{path}` cannot be explained: expected an ONNX file, name the one it was made from")
    model = read_model(path)
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise ArtifactError(f"`{path}` is in float16, too coarse for shares; explain the float model it was made from")
    spec = spec_of(model, f"`{path}`")
    if not isinstance(spec, ModelSpec):
        raise ArtifactError(f"`{path}` is a face detector, expected an attribute network")
    return model, spec


def cut(model: Model, spec: ModelSpec, where: str) -> Parts:
    """The network up to its last feature map and from there on, with the tensors to explain."""
    heads = [head.name for head in spec.heads if head.name in HEADS]
    shape = _last_map(model, heads)
    if shape is None:
        raise ArtifactError(
            f"{where} has no feature map that all its answers come from (a transformer, an ensemble or no network), so "
            "its file cannot be explained; with the checkpoint: python -m trainer explain CHECKPOINT PICTURE"
        )
    name = shape.name
    tail = _part(model, [shape], heads)
    _without_rounding(tail)
    index = GraphIndex(tail)
    targets = tuple(_target(index, name, head, bool(spec.head(head).labels)) for head in heads)
    outputs = dict.fromkeys(target.tensor for target in targets)
    return Parts(_part(model, model.graph.input, [name]), _part(tail, tail.graph.input, outputs), targets)


def _last_map(model: Model, heads: Collection[str]) -> Any:
    """The last convolutional tensor with more than one place that every answer passes through, or ``None``.

    Its ``ValueInfo``, from shape inference. Products of two activations behind it mean attention among tokens: then
    the tensor is no map of what the answers saw.
    """
    onnx = import_onnx()
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {value.name: value for value in inferred.graph.value_info}
    convolved = GraphIndex(model).downstream_of({"Conv"})
    for node in reversed(model.graph.node):
        for name in node.output:
            if name in convolved and _is_map(shapes.get(name), onnx) and _passes_all(model, name, heads):
                return None if _mixes_tokens(model, name) else shapes[name]
    return None


def _is_map(value: Any, onnx: Any) -> bool:
    if value is None or value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        return False
    sizes = [item.dim_value for item in value.type.tensor_type.shape.dim]
    return len(sizes) == 4 and sizes[2] * sizes[3] > 1


def _passes_all(model: Model, name: str, heads: Collection[str]) -> bool:
    """Whether no answer is reached from the input around ``name``."""
    reached = _dependents(model.graph.node, [value.name for value in model.graph.input], stop=name)
    return not reached.intersection(heads)


def _mixes_tokens(model: Model, name: str) -> bool:
    behind = _dependents(model.graph.node, [name])
    return any(node.op_type == "MatMul" and behind.issuperset(node.input) for node in model.graph.node)


def _dependents(nodes: Sequence[Node], sources: Collection[str], stop: str = "") -> set[str]:
    """Tensors whose values depend on ``sources``, not through ``stop`` and not through a mere shape."""
    reached = set(sources)
    for node in nodes:
        if node.op_type != "Shape" and reached.intersection(node.input):
            reached.update(name for name in node.output if name != stop)
    return reached


def _target(index: GraphIndex, feature: str, head: str, is_class: bool) -> Target:
    tensor = _before_squashing(index, head) if is_class else _before_bounds(index, head)
    return Target(head, tensor, _is_affine(index, feature, tensor))


def _before_squashing(index: GraphIndex, output: str) -> str:
    """The logits: what enters the softmax or sigmoid nearest to ``output``, or ``output`` where there is none."""
    waiting = [output]
    for name in waiting:  # grows while it is walked: breadth first
        node = index.producers.get(name)
        if node is not None and node.op_type in _SQUASHING:
            return str(node.input[0])
        waiting += [] if node is None else list(node.input)
    return output


def _before_bounds(index: GraphIndex, output: str) -> str:
    """A regressed age before it is kept within sensible years."""
    node = index.producers.get(output)
    return str(node.input[0]) if node is not None and node.op_type == "Clip" else output


def _is_affine(index: GraphIndex, feature: str, tensor: str) -> bool:
    """Whether ``tensor`` is a linear function of ``feature`` plus a constant."""
    depends = _dependents(index.model.graph.node, [feature])
    waiting = [tensor]
    while waiting:
        name = waiting.pop()
        if name == feature or name not in depends:
            continue
        node = index.producers[name]
        moving = [source for source in node.input if source in depends]
        divisor = node.op_type == "Div" and node.input[1] in depends
        if node.op_type not in _LINEAR or divisor or (len(moving) > 1 and node.op_type not in _SUMS):
            return False
        waiting += moving
    return True


def _part(model: Model, inputs: Sequence[Any], outputs: Collection[str]) -> Model:
    """The part of ``model`` between ``inputs`` (``ValueInfo``) and the tensors ``outputs``."""
    onnx = import_onnx()
    part = onnx.ModelProto()
    part.CopyFrom(model)
    given, needed, nodes = {value.name for value in inputs}, set(outputs), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output) and not given.issuperset(node.output):
            needed.update(node.input)
            nodes.append(copy_node(node))
    new_inputs = [onnx.helper.make_tensor_value_info(v.name, v.type.tensor_type.elem_type, _sizes(v)) for v in inputs]
    for field in (part.graph.input, part.graph.output, part.graph.value_info):
        del field[:]
    part.graph.input.extend(new_inputs)
    part.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs)
    replace_nodes(part, reversed(nodes))
    return part


def _sizes(value: Any) -> list[int | str]:
    """Shape of a ``ValueInfo`` with a free batch size."""
    return ["N", *(item.dim_value for item in value.type.tensor_type.shape.dim[1:])]


def _without_rounding(model: Model) -> None:
    """Let activations pass their Q/DQ pairs as they are: rounded shares of a place would not add up."""
    index, nodes = GraphIndex(model), []
    same: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in index.constants:
            same[node.output[0]] = same.get(node.input[0], node.input[0])
        elif node.op_type == "DequantizeLinear" and node.input[0] in same:
            same[node.output[0]] = same[node.input[0]]
        else:
            twin = copy_node(node)
            twin.input[:] = [same.get(name, name) for name in node.input]
            nodes.append(twin)
    replace_nodes(model, nodes)
