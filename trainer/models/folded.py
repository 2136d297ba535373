"""Weights out of an exported ONNX file: what ``edgeface export`` folded is unfolded, so that training can go on.

An exported file has each batch normalisation folded into its convolution: weights ``w`` and a bias ``b`` are left. In
training a batch normalisation divides by the batch's own spread, so it has to know what that is: with the mean ``m``
and standard deviation ``s`` of the convolution's output on real crops, the scale ``s`` and the shift ``m + b`` answer
like the file, exactly in evaluation mode and, up to a batch's chance, in training mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeface.common.install import missing
from edgeface.errors import ArtifactError

_BIAS = ".weight_bias"
"""How onnxsim names the bias that a folded normalisation leaves beside its convolution's weight."""


def onnx_weights(path: Path) -> dict[str, Tensor]:
    """The float tensors of an ONNX file that have a name of the network's. Raises ``ArtifactError``."""
    try:
        import onnx
    except ImportError as error:
        raise missing("onnx", "train", "reading weights from ONNX") from error
    try:
        model = onnx.load(path, load_external_data=False)
        arrays = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    except FileNotFoundError as error:
        raise ArtifactError(f"no weights at `{path}`") from error
    except Exception as error:  # protobuf and NumPy raise whatever they meet
        raise ArtifactError(f"`{path}` is not a readable ONNX file with its weights inside") from error
    named = {name: array for name, array in arrays.items() if "." in name and array.dtype.kind == "f"}
    return {name: torch.from_numpy(array.copy()) for name, array in named.items()}


def unfolded(net: nn.Module, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """``state`` with the tensors of each folded batch normalisation of ``net`` in place of its bias; was there any?

    They assume outputs of mean 0 and variance 1; ``measure_norms`` puts in what they are. Constants that the network
    knows from its recipe are left out.
    """
    constants = {name for name, _ in net.named_buffers()}.difference(net.state_dict())
    found, any_folded = {name: value for name, value in state.items() if name not in constants}, False
    for conv, norm, eps in _pairs(net):
        bias = found.pop(conv + _BIAS, None)
        if bias is not None:
            any_folded = True
            found[f"{norm}.weight"] = torch.full_like(bias, (1 + eps) ** 0.5)
            found[f"{norm}.bias"] = bias
            found[f"{norm}.running_mean"] = torch.zeros_like(bias)
            found[f"{norm}.running_var"] = torch.ones_like(bias)
            found[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    return found, any_folded


def _pairs(net: nn.Module) -> Iterator[tuple[str, str, float]]:
    """Names of every convolution without a bias and of the batch normalisation registered right after it; its eps."""
    last, channels = "", 0
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d) and last and module.num_features == channels:
            yield last, name, module.eps
        if not list(module.children()):
            folds = isinstance(module, nn.Conv2d) and module.bias is None
            last, channels = (name, module.out_channels) if folds else ("", 0)


@torch.no_grad()
def measure_norms(net: nn.Module, crops: Tensor) -> None:
    """Give every batch normalisation the mean and variance of what reaches it, its answers in evaluation staying.

    ``crops`` uint8 ``[N, S, S, 3]``: a few hundred real ones.
    """
    was = net.training
    hooks = [norm.register_forward_pre_hook(_measure) for norm in _norms(net)]
    net.eval()(crops)
    for hook in hooks:
        hook.remove()
    net.train(was)


def _norms(net: nn.Module) -> Iterator[nn.BatchNorm2d]:
    return (module for module in net.modules() if isinstance(module, nn.BatchNorm2d))


def _measure(norm: Any, inputs: tuple[Tensor, ...]) -> None:
    """Restate ``norm``'s linear function with the statistics of its input; the layers behind it see the same values."""
    variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
    slope = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - slope * norm.running_mean
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(slope * (variance + norm.eps).sqrt())
    norm.bias.copy_(shift + slope * mean)
