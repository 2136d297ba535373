"""Q/DQ graphs: 8-bit weights with their scales, and a QuantizeLinear/DequantizeLinear pair where the plan says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ConfigError
from edgeface.quantization.bias_correction import mean_shift
from edgeface.quantization.graph import (
    GraphIndex,
    Model,
    Node,
    attribute,
    constant,
    copy_node,
    import_onnx,
    replace_nodes,
)
from edgeface.quantization.placement import Plan, plan
from edgeface.quantization.ranges import Ranges
from edgeface.spec.precision import QuantScheme

_INT32_MAX = 2**31 - 1
_TINY = 1e-12
"""A scale has to be positive, also that of a channel whose weights are all zero."""


def qdq_from_onnx(model: Model, flavour: QuantScheme, ranges: Ranges, keep_float: Collection[str] = ()) -> Plan:
    """Turn a prepared float ``model`` into ``flavour``, in place, and return what was placed where.

    ``ranges`` hold the lowest and highest value of each activation, and the channel means by which biases are
    corrected for rounded weights. Raises ``ConfigError`` where a range is missing or not finite, or where nothing is
    left to quantise.
    """
    index = GraphIndex(model)
    placed = plan(index, flavour, keep_float)
    if not placed.layers:
        raise ConfigError("no layer is left to quantise: the model has no inner convolution, or all are kept in float")
    _Writer(index, flavour, placed, ranges).write()
    return placed


def activation_scale(low: float, high: float, flavour: QuantScheme) -> tuple[float, int]:
    """Scale and zero-point so that ``low``…``high`` and an exact zero fit 8 bits."""
    low, high = min(low, 0.0), max(high, 0.0)
    if flavour.symmetric:
        return max(-low, high, _TINY) / 127, 0
    scale = max(high - low, _TINY) / 255
    lowest = 0 if flavour.activation == "uint8" else -128
    return scale, int(np.clip(round(lowest - low / scale), lowest, lowest + 255))


def weight_scales(weight: NDArray[np.float32], weight_max: int) -> NDArray[np.float32]:
    """One scale an output channel, float32 ``[K]``, for weights ``[K, …]``."""
    peaks = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    return np.asarray(np.maximum(peaks / weight_max, _TINY), np.float32)


class _Writer:
    """Writes one graph; a class because the pieces share names and constants."""

    def __init__(self, index: GraphIndex, flavour: QuantScheme, placed: Plan, ranges: Ranges) -> None:
        self.index, self.flavour, self.placed, self.ranges = index, flavour, placed, ranges
        self.make_node = import_onnx().helper.make_node
        self.added: dict[str, NDArray[np.generic]] = {}
        self.names: dict[tuple[str, bytes], str] = {}

    def write(self) -> None:
        model = self.index.model
        pairs = [self._activation_pair(number, name) for number, name in enumerate(self.placed.pairs)]
        by_maker: dict[str, list[Node]] = defaultdict(list)
        for tensor, nodes in pairs:
            by_maker[tensor] += nodes
        out: list[Node] = [node for value in model.graph.input for node in by_maker[value.name]]
        for node in model.graph.node:
            if node.name in self.placed.layers:
                out += self._convolution(node)
            out.append(node)
            out += [added for name in node.output for added in by_maker[name]]
        model.graph.initializer.extend(constant(name, values) for name, values in self.added.items())
        replace_nodes(model, self._without_redundant_activations(out))

    def _without_redundant_activations(self, nodes: list[Node]) -> list[Node]:
        """Leave out each Relu (or ReLU6) whose 8-bit output starts at zero: quantising clips the same values.

        ONNX Runtime then sees the Conv or Add right before its Q, as its fusions want. TensorRT does that by itself.
        """
        if self.flavour.fused_by != "onnxruntime":
            return [copy_node(node) for node in nodes]
        moved = {}
        for node in nodes:
            if (
                self.index.clips_at_zero(node)
                and node.output[0] in self.placed.pairs
                and node.output[0] not in self.index.outputs
            ):
                alone = self.index.only_consumer(node.input[0]) is not None
                starts_at_zero = self.scale_of(node.output[0])[1] == (0 if self.flavour.activation == "uint8" else -128)
                if alone and starts_at_zero:
                    moved[node.output[0]] = node.input[0]
        kept = [copy_node(node) for node in nodes if node.output[0] not in moved]
        for node in kept:
            if node.op_type == "QuantizeLinear":
                node.input[0] = moved.get(node.input[0], node.input[0])
        return kept

    def scale_of(self, tensor: str) -> tuple[float, int]:
        root = self.placed.root(tensor)
        if root not in self.ranges:
            raise ConfigError(f"no range of activation `{root}`: calibrate this very model")
        low, high = self.ranges[root]
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ConfigError(f"the range of activation `{root}` is {low}…{high}: the model's values overflow")
        return activation_scale(low, high, self.flavour)

    def _activation_pair(self, number: int, tensor: str) -> tuple[str, list[Node]]:
        """One Q, and a DQ for each reader: both runtimes fuse a DQ only with its only reader."""
        scale, zero = self.scale_of(tensor)
        parameters = [
            self._shared("s", np.float32(scale)),
            self._shared("z", np.array(zero, np.dtype(self.flavour.activation))),
        ]
        nodes = [self.make_node("QuantizeLinear", [tensor, *parameters], [f"q{number}"], name=f"q{number}")]
        readers = {(node.name, position): node for node, position in self.index.consumers[tensor]}
        for copy, (name, position) in enumerate(self.placed.pairs[tensor]):
            output = f"q{number}_{copy}"
            nodes.append(self.make_node("DequantizeLinear", [f"q{number}", *parameters], [output], name=f"d{output}"))
            readers[name, position].input[position] = output
        return tensor, nodes

    def _convolution(self, node: Node) -> list[Node]:
        """Give ``node`` an 8-bit weight and the bias that goes with it; returns their DQs."""
        number = self.placed.layers.index(node.name)
        source = next(name for name, readers in self.placed.pairs.items() if (node.name, 0) in readers)
        weight = self.index.array(node.input[1])
        scales = weight_scales(weight, self.flavour.weight_max)
        bias = self.index.array(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(len(weight))
        # ONNX Runtime adds the bias to 32-bit sums, so its scale is given: x's times w's. A channel of tiny weights
        # gets a larger one rather than a bias that overflows.
        input_scale = float(np.float32(self.scale_of(source)[0]))
        as_integer = self.flavour.fused_by == "onnxruntime"
        if as_integer:
            scales = np.maximum(scales, np.abs(bias) / (input_scale * (_INT32_MAX // 2))).astype(np.float32)
        per_channel = scales.reshape(-1, *[1] * (weight.ndim - 1))
        limit = self.flavour.weight_max
        integers = np.clip(np.rint(weight / per_channel), -limit, limit).astype(np.int8)
        if source in self.ranges.means:
            error = integers * per_channel - weight
            bias = bias - mean_shift(error, self.ranges.means[source], attribute(node, "group", 1))
        nodes = [self._dequantised(node, 1, f"w{number}", integers, scales)]
        if as_integer:
            bias_scales = scales.astype(np.float64) * input_scale
            rounded = np.clip(np.rint(bias / bias_scales), -_INT32_MAX, _INT32_MAX).astype(np.int32)
            nodes.append(self._dequantised(node, 2, f"b{number}", rounded, bias_scales.astype(np.float32)))
        else:
            _set_input(node, 2, self._shared("b", bias.astype(np.float32)))
        return nodes

    def _dequantised(
        self, node: Node, position: int, name: str, integers: NDArray[np.integer], scales: NDArray[np.float32]
    ) -> Node:
        """Make ``node`` read ``integers`` times ``scales`` at ``position``; returns the DQ."""
        inputs = [self._shared(name[0], integers), self._shared("s", scales)]
        if integers.dtype == np.int8:  # TensorRT wants zero-points; ONNX Runtime knows that 32-bit ones are zero
            inputs.append(self._shared("z", np.zeros(len(scales), np.int8)))
        _set_input(node, position, f"{name}_f")
        return self.make_node("DequantizeLinear", inputs, [f"{name}_f"], name=f"d{name}", axis=0)

    def _shared(self, kind: str, values: NDArray[np.generic] | np.generic) -> str:
        """The name of a constant; equal ones are stored once."""
        array = np.asarray(values)
        key = (f"{kind} {array.dtype} {array.shape}", array.tobytes())
        if key not in self.names:
            self.names[key] = f"{kind}_{len(self.names)}"
            self.added[self.names[key]] = array
        return self.names[key]


def _set_input(node: Node, position: int, name: str) -> None:
    """Replace an input, or append the one that was left out."""
    if len(node.input) > position:
        node.input[position] = name
    else:
        node.input.append(name)
