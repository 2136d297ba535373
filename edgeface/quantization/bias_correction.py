"""What rounding weights does to a layer's mean output, and the bias that undoes it.

A channel's weights are rounded the same way for every image, so their error does not average out: times the mean
input it is a constant shift of the output (Nagel et al., "Data-free quantization through weight equalization and bias
correction", ICCV 2019, section 4.2). On the shipped network these shifts add up to a tenth of a year.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.quantization.graph import Model, import_onnx
from edgeface.quantization.placement import quantisable_layers_of
from edgeface.runtime.base import Feed
from edgeface.runtime.open import open_backend


def channel_means(model: Model, feeds: Sequence[Feed]) -> dict[str, tuple[float, ...]]:
    """Mean of every input channel of each convolution that may become 8-bit.

    Over an image's pixels, then over images, so that a large image counts as much as a small one. ``model`` is a
    prepared float model; it is not changed.
    """
    onnx = import_onnx()
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    tensors = list(dict.fromkeys(node.input[0] for node in quantisable_layers_of(model)))
    if not tensors:
        return {}
    del watched.graph.output[:]
    for number, tensor in enumerate(tensors):
        name = f"mean{number}"
        watched.graph.node.append(onnx.helper.make_node("GlobalAveragePool", [tensor], [name]))
        watched.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    sums = [np.zeros(1) for _ in tensors]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "watched.onnx"
        path.write_bytes(watched.SerializeToString())
        with open_backend(path) as backend:
            for feed in feeds:
                answers = backend.infer(feed)
                for number in range(len(tensors)):
                    pooled = answers[f"mean{number}"]  # [N, C, 1, …]
                    sums[number] = sums[number] + pooled.reshape(pooled.shape[:2]).sum(axis=0, dtype=np.float64)
    pictures = sum(len(next(iter(feed.values()))) for feed in feeds)
    return {tensor: tuple((total / pictures).tolist()) for tensor, total in zip(tensors, sums)}


def mean_shift(error: NDArray[np.float32], means: Sequence[float], groups: int) -> NDArray[np.float64]:
    """How much each output channel's mean moves: float64 ``[K]``.

    ``error``: weights as stored less weights as trained, ``[K, C / groups, …]``; ``means`` of the C input channels.
    """
    summed = error.reshape(*error.shape[:2], -1).sum(axis=2, dtype=np.float64)
    by_group = summed.reshape(groups, -1, summed.shape[1])
    return np.asarray(np.einsum("gkc,gc->gk", by_group, np.asarray(means, np.float64).reshape(groups, -1))).reshape(-1)
