"""Going on from a shipped detector: its ONNX file's kernels into a folded network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeface.errors import ConfigError
from trainer.detector.network import INPUT_SCALE, Detector


def load_onnx_weights(model: Detector, path: str | Path) -> int:
    """Copy the convolutions of ``path`` into ``model``, whose batch normalisation is folded, and count them.

    Convolutions are met in the order in which they run. Those that the file lacks (a recipe with more ``blocks``)
    start small, so that their residual branch says little at first. Raises ``ConfigError`` where shapes differ.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    constants = [node for node in graph.node if node.op_type == "Constant"]
    arrays.update({node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in constants})
    stored: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            stored.setdefault(node.input[1], (arrays[node.input[1]], arrays[node.input[2]]))
    if not any(
        node.op_type == "Mul" for node in graph.node
    ):  # the simplifier moved the input's scale into the first kernel
        first = next(iter(stored))
        stored[first] = (stored[first][0] / INPUT_SCALE, stored[first][1])
    convolutions, extra = _in_running_order(model)
    if len(convolutions) != len(stored):
        raise ConfigError(f"`{path}` has {len(stored)} convolutions, the recipe's network {len(convolutions)}")
    with torch.no_grad():
        for layer, (kernel, bias) in zip(convolutions, stored.values()):
            if tuple(layer.weight.shape) != kernel.shape or layer.bias is None:
                raise ConfigError(
                    f"`{path}`: a kernel of shape {kernel.shape}, the recipe has {tuple(layer.weight.shape)}"
                )
            layer.weight.copy_(torch.from_numpy(kernel.copy()))
            layer.bias.copy_(torch.from_numpy(bias.copy()))
        for layer in extra:
            layer.weight.mul_(0.1)
            assert layer.bias is not None
            layer.bias.zero_()
    return len(convolutions)


def _in_running_order(model: Detector) -> tuple[list[nn.Conv2d], list[nn.Conv2d]]:
    """The network's convolutions as they run first, and the residual blocks beyond the shipped depth."""
    extra = {
        id(layer)
        for stage, depth in zip(model.stages, model.start_blocks)
        for block in list(stage.blocks)[depth:]  # type: ignore[arg-type]
        for layer in block.modules()
        if isinstance(layer, nn.Conv2d)
    }
    seen: dict[int, nn.Conv2d] = {}
    hooks = [
        layer.register_forward_hook(lambda module, _i, _o: seen.setdefault(id(module), module) and None)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    model(torch.zeros((1, 32, 32, 3), dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return [m for m in seen.values() if id(m) not in extra], [m for m in seen.values() if id(m) in extra]
