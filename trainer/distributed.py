"""Several processes that train one network together, as ``torchrun`` starts them; one process is a group of its own.

Every process draws the same order and the same augmentation and takes its part of each batch; gradients and the
statistics of batch normalisation are those of the whole batch. So the processes stay equal, and n of them compute what
one would, but for the order of sums.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from edgeface.errors import ConfigError

Value = TypeVar("Value")

_TIMEOUT = timedelta(hours=12)
"""The others wait while the first process cuts the crops of a whole data set."""


@dataclass(frozen=True)
class Group:
    """This process's place: ``rank`` of ``size`` processes, ``local_rank`` on its machine, and its device."""

    rank: int
    size: int
    device: torch.device
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """The one process that writes files and log lines."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """This process's part of ``batch`` rows. Raises ``ConfigError`` where they cannot be shared evenly."""
        if batch % self.size or batch < 2 * self.size:
            raise ConfigError(
                f"`batch`: expected a multiple of the {self.size} processes, two images each or more, found {batch}"
            )
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def rank0_first(self, work: Callable[[], Value]) -> Value:
        """``work`` done by the first process of each machine, then by the others, who find what it left on disk."""
        if self.size == 1:
            return work()
        early = self.local_rank == 0
        result = work() if early else None
        dist.barrier()
        return result if early else work()  # type: ignore[return-value]

    def broadcast_from_rank0(self, work: Callable[[], Value]) -> Value:
        """What ``work`` gives the first process, on all of them; an error of it is raised on all of them."""
        if self.size == 1:
            return work()
        box: list[object] = [None, None]
        if self.is_main:
            try:
                box[0] = work()
            except Exception as error:
                box[1] = error
        dist.broadcast_object_list(box, device=self.device if self.device.type == "cuda" else None)
        if isinstance(box[1], Exception):
            raise box[1]
        return box[0]  # type: ignore[return-value]

    def share_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes, in one message."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.size == 1 or not gradients:
            return
        flat = torch.cat([gradient.float().flatten() for gradient in gradients])
        dist.all_reduce(flat)
        parts = torch.split(flat / self.size, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, parts):
            gradient.copy_(mean.view_as(gradient))

    def share_state(self, module: nn.Module) -> None:
        """Give every process the first one's weights and buffers."""
        if self.size > 1:
            for value in module.state_dict().values():
                dist.broadcast(value, 0)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes of a tensor."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size


@contextlib.contextmanager
def process_group(pick_device: Callable[[], torch.device]) -> Iterator[Group]:
    """The group that ``torchrun``'s environment describes; without one, a group of one process."""
    device, size = pick_device(), int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group(0, 1, device)
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Group(dist.get_rank(), size, device, local_rank)
    finally:
        dist.destroy_process_group()


def synchronised(net: nn.Module, group: Group) -> None:
    """Make every batch normalisation of ``net`` use the statistics of all processes' batches, in place."""
    if group.size == 1:
        return
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SharedBatchNorm2d


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over all processes' rows, on any device (torch's own wants GPUs).

    Every process has equally many rows. The sums are exchanged with their gradients.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _summed(x.float().sum((0, 2, 3))) / count
        centred = x.float() - mean[:, None, None]
        variance = _summed(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalised: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(variance, self.momentum or 0.0)
            self.num_batches_tracked += 1


def _summed(value: Tensor) -> Tensor:
    """The sum over all processes, whose gradient is summed over them, too."""
    total: Tensor = all_reduce(value)  # type: ignore[no-untyped-call]
    return total
