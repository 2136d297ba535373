"""Gradients as values: of one loss at a time, averaged over processes, freed of conflicts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def project_conflicts(gradients: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Each of the flat ``gradients`` without its components against the others, taken off in random order."""
    projected = []
    for index, gradient in enumerate(gradients):
        left = gradient.clone()
        for other in torch.randperm(len(gradients), generator=generator).tolist():
            if other != index:
                against = gradients[other]
                overlap = torch.dot(left, against) / against.square().sum().clamp_min(1e-30)
                left -= overlap.clamp_max(0) * against
        projected.append(left)
    return projected


def averaged(values: list[Tensor]) -> list[Tensor]:
    """The mean over all processes of each of ``values``; the values themselves where there is one process."""
    if not (dist.is_available() and dist.is_initialized()):
        return values
    flat = torch.cat([value.flatten() for value in values])
    dist.all_reduce(flat)
    parts = torch.split(flat / dist.get_world_size(), [value.numel() for value in values])
    return [part.view_as(value) for part, value in zip(parts, values)]


def backward(loss: Tensor) -> None:
    """Add the gradients of ``loss`` to those of all parameters."""
    loss.backward()  # type: ignore[no-untyped-call]


def grad_wrt(loss: Tensor, layer: nn.Parameter) -> tuple[Tensor | None, ...]:
    """Gradient of a loss with respect to a layer; the graph stays for the next loss."""
    return torch.autograd.grad(loss, [layer], retain_graph=True, allow_unused=True)


def flattened(gradients: Iterable[Tensor | None], parameters: list[nn.Parameter]) -> Tensor:
    """One vector of the gradients of ``parameters``, zero where there is none."""
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(gradients, parameters)]
    )


def add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to what a parameter has gathered so far, in the parameter's own memory layout."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    else:
        parameter.grad += gradient
