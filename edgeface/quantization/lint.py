"""Checks an ONNX graph against TensorRT's published rules, on any machine, before an engine builder sees it.

Sources: the ONNX parser's operator list and checks (onnx/onnx-tensorrt, branch release/8.6-GA, the oldest release that
we serve) and TensorRT's developer guide on explicit quantization.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edgeface.quantization.graph import GraphIndex, Model, Node, attribute, import_onnx, read_model

MAX_OPSET = 17
_PARSER = "https://github.com/onnx/onnx-tensorrt/blob/release/8.6-GA"
_OPERATORS = f"{_PARSER}/docs/operators.md"
_GUIDE = "https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html"
_SKIP_BRANCH = (
    "https://docs.nvidia.com/deeplearning/tensorrt/tensorflow-quantization-toolkit/docs/docs/add_custom_qdq_cases.html"
)

# fmt: off
_UNSUPPORTED = frozenset(
    [
        "Bernoulli", "BitShift", "BlackmanWindow", "Compress", "ConcatFromSequence", "ConvInteger", "DFT",
        "Det", "DynamicQuantizeLinear", "HammingWindow", "HannWindow", "Hardmax", "MatMulInteger", "MaxRoiPool",
        "MaxUnpool", "MelWeightMatrix", "Multinomial", "NegativeLogLikelihoodLoss", "Optional",
        "OptionalGetElement", "OptionalHasElement", "QLinearConv", "QLinearMatMul", "STFT", "SequenceAt",
        "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
        "SequenceMap", "SoftmaxCrossEntropyLoss", "SplitToSequence", "StringNormalizer", "TfIdfVectorizer",
        "Unique",
    ]
)
# fmt: on
"""Standard operators that the parser of TensorRT 8.6 lists as not supported."""
_PLUGIN = frozenset(["InstanceNormalization", "RoiAlign"])
"""Operators that the same parser makes of a plugin, which a bare runtime lacks."""
_QDQ = ("QuantizeLinear", "DequantizeLinear")
_WEIGHTED = ("Conv", "ConvTranspose")


class Rule(NamedTuple):
    """What a finding is about: ``level`` "error" (the builder refuses or is wrong) or "warning" (slower)."""

    level: str
    link: str


RULES = {
    "opset": Rule("error", _OPERATORS),
    "operator": Rule("error", _OPERATORS),
    "plugin": Rule("error", f"{_PARSER}/builtin_op_importers.cpp"),
    "uint8-inside": Rule("error", f"{_PARSER}/ModelImporter.cpp"),
    "uint8-qdq": Rule("error", f"{_PARSER}/builtin_op_importers.cpp"),
    "zero-point": Rule("error", _GUIDE),
    "scale": Rule("error", f"{_PARSER}/builtin_op_importers.cpp"),
    "weight-axis": Rule("error", _GUIDE),
    "activation-per-channel": Rule("error", _GUIDE),
    "bias": Rule("error", f"{_PARSER}/builtin_op_importers.cpp"),
    "half-quantised": Rule("warning", _GUIDE),
    "qdq-before-relu": Rule("warning", _GUIDE),
    "qdq-before-add": Rule("warning", _SKIP_BRANCH),
    "batch-norm": Rule("warning", _GUIDE),
    "int64": Rule("error", _OPERATORS),
    "double": Rule("warning", _OPERATORS),
}


@dataclass(frozen=True)
class Finding:
    """One place that breaks ``rule``: node or tensor name, and a sentence that says what and what to do."""

    rule: str
    node: str
    sentence: str

    @property
    def level(self) -> str:
        return RULES[self.rule].level

    @property
    def link(self) -> str:
        """Where TensorRT publishes the rule."""
        return RULES[self.rule].link


def lint(model: str | os.PathLike[str] | Model) -> list[Finding]:
    """All in ``model`` (a file or a ``ModelProto``) that TensorRT 8.6 to 11 would refuse, get wrong or run slowly.

    Errors come first. Raises ``ArtifactError`` where the file is no ONNX model.
    """
    graph = read_model(model) if isinstance(model, str | os.PathLike) else model
    index = GraphIndex(graph)
    found = [finding for check in _CHECKS for finding in check(index)]
    return sorted(found, key=lambda finding: finding.level)  # "error" before "warning"


def _opset(index: GraphIndex) -> Iterator[Finding]:
    for entry in index.model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version > MAX_OPSET:
            yield Finding(
                "opset", "", f"opset {entry.version} is newer than TensorRT 8.6 reads: export with {MAX_OPSET} or older"
            )


def _operators(index: GraphIndex) -> Iterator[Finding]:
    for node in index.model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type in _UNSUPPORTED:
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            yield Finding("operator", node.name, f"operator {name} is not among those of TensorRT 8.6's parser")
        elif node.op_type in _PLUGIN:
            yield Finding(
                "plugin", node.name, f"operator {node.op_type} needs a TensorRT plugin, which a bare runtime lacks"
            )


def _uint8_inside(index: GraphIndex) -> Iterator[Finding]:
    onnx = import_onnx()
    inferred = onnx.shape_inference.infer_shapes(index.model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    for node in index.model.graph.node:
        for name in node.output:
            if kinds.get(name) == onnx.TensorProto.UINT8 and node.op_type not in _QDQ and name not in index.outputs:
                yield Finding(
                    "uint8-inside",
                    node.name,
                    f"{node.op_type} makes a uint8 tensor inside the network, TensorRT takes uint8 as input and output "
                    "only: cast the input first",
                )


def _numbers(index: GraphIndex) -> Iterator[Finding]:
    """64-bit constants: integers are cut to 32 bits, so they have to fit."""
    for name, tensor in index.constants.items():
        values = index.array(name)
        if values.dtype == np.int64 and values.size and np.abs(values.astype(np.float64)).max() > 2**31 - 1:
            # Slices to the end are written as the largest integer, and cutting that does no harm.
            if not _is_slice_end(index, name):
                yield Finding("int64", name, f"constant `{name}` does not fit the 32 bits that TensorRT 8.6 keeps")
        elif values.dtype == np.float64:
            yield Finding("double", name, f"constant `{tensor.name}` is float64, which TensorRT computes in float32")


def _is_slice_end(index: GraphIndex, name: str) -> bool:
    return all(node.op_type == "Slice" and position == 2 for node, position in index.consumers[name])


def _scales(index: GraphIndex) -> Iterator[Finding]:
    for node in index.model.graph.node:
        if node.op_type not in _QDQ:
            continue
        if node.input[1] not in index.constants:
            yield Finding("scale", node.name, "the scale is computed at runtime, expected a constant")
        elif not (index.array(node.input[1]) > 0).all():
            yield Finding("scale", node.name, "a scale is not positive: quantise the model again")
        if len(node.input) < 3 or node.input[2] not in index.constants:
            yield Finding("zero-point", node.name, "there is no constant zero-point, TensorRT 8.6 wants one of zeros")
            continue
        zero = index.array(node.input[2])
        if zero.dtype == np.uint8:
            yield Finding("uint8-qdq", node.name, f"{node.op_type} to unsigned integers, TensorRT knows int8 only")
        if zero.any():
            yield Finding("zero-point", node.name, "the zero-point is not 0, TensorRT quantises symmetrically only")


def _axes(index: GraphIndex) -> Iterator[Finding]:
    for node in index.model.graph.node:
        if node.op_type not in _QDQ or node.input[1] not in index.constants:
            continue
        scales = index.array(node.input[1])
        if scales.size == 1:
            continue
        weight = _weight_of(index, node)
        if weight is None:
            yield Finding("activation-per-channel", node.name, "an activation has a scale a channel, only weights may")
            continue
        for reader, position in index.consumers[node.output[0]]:
            if reader.op_type == "Conv" and position == 1 and attribute(node, "axis", 1) != 0:
                yield Finding(
                    "weight-axis",
                    node.name,
                    f"the weight of {reader.name} has its scales on axis {attribute(node, 'axis', 1)}, expected 0, the "
                    "output channels",
                )


def _weight_of(index: GraphIndex, node: Node) -> str | None:
    """The constant that ``node`` quantises or dequantises, through a Q before it."""
    name = str(node.input[0])
    maker = index.producers.get(name)
    if maker is not None and maker.op_type == "QuantizeLinear":
        name = str(maker.input[0])
    return name if name in index.constants else None


def _convolutions(index: GraphIndex) -> Iterator[Finding]:
    for node in index.model.graph.node:
        if node.op_type not in _WEIGHTED:
            continue
        makers = [_maker_type(index, name) for name in node.input]
        quantised = [kind == "DequantizeLinear" for kind in makers[:2]]
        if any(quantised) and not all(quantised):
            missing = "input" if not quantised[0] else "weight"
            yield Finding("half-quantised", node.name, f"the {missing} has no Q/DQ pair, so the layer runs in float")
        if len(makers) > 2 and makers[2] is not None:
            yield Finding("bias", node.name, "the bias is computed, TensorRT 8.6 wants a constant: keep it in float")
        reader = index.only_consumer(node.output[0])
        if reader is not None and reader.op_type == "BatchNormalization":
            yield Finding("batch-norm", reader.name, f"not folded into {node.name}: edgeface quantize does that")


def _maker_type(index: GraphIndex, name: str) -> Any:
    maker = index.producers.get(name)
    return None if maker is None else maker.op_type


def _fusions(index: GraphIndex) -> Iterator[Finding]:
    """Pairs between a Conv and the Relu or Add that it should fuse with."""
    for node in index.model.graph.node:
        pair = index.only_consumer(node.output[0]) if node.op_type in _WEIGHTED else None
        if pair is None or pair.op_type != "QuantizeLinear":
            continue
        for dequantise, _ in index.consumers[pair.output[0]]:
            for reader, position in index.consumers[dequantise.output[0]]:
                if reader.op_type == "Relu":
                    yield Finding(
                        "qdq-before-relu", pair.name, f"between {node.name} and its Relu, which then cannot fuse"
                    )
                elif reader.op_type == "Add" and _both_dequantised(index, reader, position):
                    yield Finding(
                        "qdq-before-add",
                        pair.name,
                        f"between {node.name} and the Add {reader.name}, which then cannot fuse: quantise only the "
                        "skip branch",
                    )


def _both_dequantised(index: GraphIndex, add: Node, position: int) -> bool:
    """Whether the other branch of ``add`` is quantised, too, so that this one should not be."""
    return bool(_maker_type(index, add.input[1 - position]) == "DequantizeLinear")


_CHECKS: tuple[Callable[[GraphIndex], Iterator[Finding]], ...] = (
    _opset,
    _operators,
    _uint8_inside,
    _numbers,
    _scales,
    _axes,
    _convolutions,
    _fusions,
)
