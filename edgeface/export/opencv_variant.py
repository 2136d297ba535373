"""A model's variant for OpenCV's DNN module (4.5.4 and newer), which C++ falls back to where there is no ONNX Runtime.

    python -m edgeface.export.opencv_variant detector.onnx -o detector.opencv.onnx

That module has no uint8 tensors, no shapes computed inside a graph, and in OpenCV 4.6 no broadcasting between two
computed tensors. The variant is the same network with the same weights, spec and answers: its input is the same pixels
in float32 (0…255), one image at a time, shapes are constants, and sums over classes are matrix products. It is
written only when ONNX Runtime answers both files alike.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.common.console import echo, report_error
from edgeface.common.files import atomic_path
from edgeface.common.install import missing
from edgeface.errors import EdgefaceError, ExportError
from edgeface.runtime.base import Backend
from edgeface.runtime.open import open_backend

VARIANT_KEY = "edgeface.variant"
_TOLERANCE = 2e-3
"""Largest difference of an output: years, probabilities, strides."""
_CANVASES = ((96, 64), (160, 128))
"""Heights and widths that a detector is proven on."""


def write_opencv_variant(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Write the variant of the ONNX model ``source`` to ``target``, whole or not at all.

    Raises ``ExportError`` where the graph has what cannot be rewritten or the answers differ, ``ArtifactError`` where
    ``source`` is no model, ``MissingDependencyError`` without the onnx package.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing("onnx", "quantize", "writing a model's variant for OpenCV") from error
    with open_backend(source, threads=1) as original:
        model = onnx.load(os.fspath(source))
        _Rewriter(model).rewrite()
        onnx.checker.check_model(model)
        with atomic_path(target) as temporary:
            onnx.save(model, str(temporary))
            with open_backend(temporary, threads=1) as variant:
                _prove(original, variant, str(source))


def _prove(original: Backend, variant: Backend, name: str) -> None:
    """Raise ``ExportError`` unless both answer the same noise alike."""
    info = original.inputs[0]
    height, width = info.shape[1:3]
    rng = np.random.default_rng(0)
    for high, wide in _CANVASES if height is None or width is None else ((height, width),):
        pixels: NDArray[np.uint8] = rng.integers(0, 256, (1, high, wide, 3), np.uint8)
        wanted = original.infer({info.name: pixels})
        found = variant.infer({info.name: pixels.astype(np.float32)})
        for output, values in wanted.items():
            worst = float(np.abs(values - found[output].reshape(values.shape)).max())
            if not worst <= _TOLERANCE:
                raise ExportError(
                    f"the OpenCV variant of `{name}` answers differently: `{output}` by {worst:.2g}, expected at most "
                    f"{_TOLERANCE}; nothing was written"
                )


class _Rewriter:
    """Rewrites an ONNX model in place."""

    def __init__(self, model: Any) -> None:
        import onnx

        self._model, self._graph = model, model.graph
        self._helper, self._arrays, self._types = onnx.helper, onnx.numpy_helper, onnx.TensorProto

    def rewrite(self) -> None:
        self._float_input()
        self._constant_shapes()
        self._upper_limits()
        self._spread_by_moments()
        self._broken_powers()
        self._drop_unused()
        del self._graph.value_info[:]  # shapes of the old graph
        entry = self._model.metadata_props.add()
        entry.key, entry.value = VARIANT_KEY, "opencv"

    def _float_input(self) -> None:
        """Pixels come as float32, so the cast at the graph's head goes; the batch is 1."""
        pixels = self._graph.input[0]
        casts = [node for node in self._graph.node if node.op_type == "Cast" and node.input[0] == pixels.name]
        for cast in casts:
            self._replace(cast.output[0], pixels.name)
            self._graph.node.remove(cast)
        pixels.type.tensor_type.elem_type = self._types.FLOAT
        for value in (pixels, *self._graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1

    def _constant_shapes(self) -> None:
        """A reshape that keeps the first axes, whose sizes the graph looks up, says so by zeros."""
        constants = self._constants()
        for node in self._graph.node:
            if node.op_type != "Reshape" or node.input[1] in constants:
                continue
            shape = self._maker(node.input[1])
            kept = self._maker(shape.input[0]) if shape is not None and shape.op_type == "Concat" else None
            if kept is None or kept.op_type != "Slice" or len(shape.input) != 2 or constants[kept.input[1]].any():
                raise ExportError(f"reshape `{node.name}` has a computed shape that OpenCV cannot follow")
            sizes = [np.zeros(int(constants[kept.input[2]][0])), constants[shape.input[1]]]
            node.input[1] = self._add(f"{node.name}/shape", np.concatenate(sizes).astype(np.int64))

    def _upper_limits(self) -> None:
        """min(x, c) as c − relu(c − x), since OpenCV's clip knows no limits that are inputs."""
        make = self._helper.make_node
        for node in [node for node in self._graph.node if node.op_type == "Clip"]:
            if len(node.input) != 3 or node.input[1]:
                raise ExportError(f"clip `{node.name}` has a lower limit, OpenCV's variant has no form for it")
            (value, _, limit), name = node.input, node.output[0]
            nodes = [
                make("Sub", [limit, value], [f"{name}/room"]),
                make("Relu", [f"{name}/room"], [f"{name}/room_left"]),
                make("Sub", [limit, f"{name}/room_left"], [name]),
            ]
            self._put(node, nodes)

    def _broken_powers(self) -> None:
        """x^p as exp(p · log x) for a p like 1.3, which OpenCV 4.6 computes wrongly after a square root."""
        make, constants = self._helper.make_node, self._constants()
        for node in [node for node in self._graph.node if node.op_type == "Pow"]:
            exponent, name = constants.get(node.input[1]), node.output[0]
            if exponent is None or float(exponent.reshape(-1)[0]).is_integer():
                continue
            nodes = [
                make("Log", [node.input[0]], [f"{name}/log"]),
                make("Mul", [f"{name}/log", node.input[1]], [f"{name}/scaled"]),
                make("Exp", [f"{name}/scaled"], [name]),
            ]
            self._put(node, nodes)

    def _spread_by_moments(self) -> None:
        """Σp·k and Σp·(k − Σp·k)² as matrix products: the mean, and Σp·k² less its square.

        Classes are counted from their middle, which keeps the squares small and float32 exact enough.
        """
        for node in [node for node in self._graph.node if node.op_type == "ReduceSum"]:
            self._one_sum(node)
        for value in self._graph.output:
            dims = value.type.tensor_type.shape.dim
            if len(dims) == 1:  # a matrix product leaves a column
                dims.add().dim_value = 1

    def _one_sum(self, node: Any) -> None:
        product = self._maker(node.input[0])
        if product is None or product.op_type != "Mul":
            raise ExportError(f"sum `{node.name}` is not over a product, OpenCV's variant has no form for it")
        constants = self._constants()
        weights = next((constants[name] for name in product.input if name in constants), None)
        if weights is not None:
            chances = next(name for name in product.input if name not in constants)
            self._put(node, self._mean(node, chances, weights))
            return
        chances, values = self._variance_parts(product)
        self._put(node, self._variance(node, chances, values))

    def _variance_parts(self, product: Any) -> tuple[str, NDArray[Any]]:
        """Of p · (k − mean)²: the name of p, and k."""
        for chances, square in (tuple(product.input), tuple(product.input)[::-1]):
            power = self._maker(square)
            difference = self._maker(power.input[0]) if power is not None and power.op_type in ("Pow", "Mul") else None
            if difference is not None and difference.op_type == "Sub":
                values = self._constants().get(difference.input[0])
                if values is not None:
                    return chances, values
        raise ExportError(f"product `{product.name}` is no spread about a mean, OpenCV's variant has no form for it")

    def _mean(self, node: Any, chances: str, weights: NDArray[Any]) -> list[Any]:
        column = self._add(f"{node.output[0]}/classes", weights.reshape(-1, 1).astype(np.float32))
        return [self._helper.make_node("MatMul", [chances, column], [node.output[0]])]

    def _variance(self, node: Any, chances: str, values: NDArray[Any]) -> list[Any]:
        name = node.output[0]
        centred = values.reshape(-1, 1).astype(np.float64)
        centred = centred - centred.mean()
        first = self._add(f"{name}/centred", centred.astype(np.float32))
        second = self._add(f"{name}/squares", (centred**2).astype(np.float32))
        make = self._helper.make_node
        return [
            make("MatMul", [chances, first], [f"{name}/mean"]),
            make("MatMul", [chances, second], [f"{name}/square"]),
            make("Mul", [f"{name}/mean", f"{name}/mean"], [f"{name}/mean_squared"]),
            make("Sub", [f"{name}/square", f"{name}/mean_squared"], [name]),
        ]

    def _put(self, node: Any, nodes: list[Any]) -> None:
        """``nodes`` in place of ``node``."""
        at = list(self._graph.node).index(node)
        self._graph.node.remove(node)
        for offset, new in enumerate(nodes):
            self._graph.node.insert(at + offset, new)

    def _constants(self) -> dict[str, NDArray[Any]]:
        return {item.name: self._arrays.to_array(item) for item in self._graph.initializer}

    def _maker(self, name: str) -> Any:
        return next((node for node in self._graph.node if name in node.output), None)

    def _add(self, name: str, values: NDArray[Any]) -> str:
        self._graph.initializer.append(self._arrays.from_array(values, name))
        return name

    def _replace(self, old: str, new: str) -> None:
        for node in self._graph.node:
            for at, name in enumerate(node.input):
                if name == old:
                    node.input[at] = new

    def _drop_unused(self) -> None:
        """Nodes and constants that nothing reads any more."""
        outputs = {value.name for value in self._graph.output}
        while True:
            read = outputs | {name for node in self._graph.node for name in node.input}
            idle = [node for node in self._graph.node if not read & set(node.output)]
            for node in idle:
                self._graph.node.remove(node)
            if not idle:
                break
        for item in [item for item in self._graph.initializer if item.name not in read]:
            self._graph.initializer.remove(item)


def main() -> int:
    """The command line: one model in, its variant out."""
    parser = argparse.ArgumentParser(
        prog="python -m edgeface.export.opencv_variant", description=__doc__.splitlines()[0]
    )
    parser.add_argument("model", metavar="MODEL.onnx", type=Path)
    parser.add_argument("-o", "--output", metavar="NEW.onnx", type=Path, required=True)
    given = parser.parse_args()
    try:
        write_opencv_variant(given.model, given.output)
    except EdgefaceError as error:
        report_error(error)
        return 1
    echo(f"wrote {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
