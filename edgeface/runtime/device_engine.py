"""Networks that read and write the GPU's memory: what the GPU pipeline needs of a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edgeface.runtime.base import TensorInfo

Shape = tuple[int, ...]


class DeviceCall(Protocol):
    """A network bound to addresses and shapes."""

    def enqueue(self, stream: int) -> None:
        """Queue one inference; nothing is allocated or waited for after the first. Raises ``BackendError``."""
        ...

    def close(self) -> None:
        """Let go of what the call holds, while the GPU's context is there; closing twice is harmless."""
        ...


class DeviceEngine(Protocol):
    """A loaded network on one GPU, used by the thread that owns the GPU's context."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]: ...

    @property
    def outputs(self) -> tuple[TensorInfo, ...]: ...

    @property
    def device(self) -> str: ...

    @property
    def batches(self) -> tuple[int, int]:
        """The smallest and largest batch it takes."""
        ...

    @property
    def capturable(self) -> bool:
        """Whether its calls may become part of a captured graph."""
        ...

    def bind(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> DeviceCall:
        """A call with every tensor, inputs and outputs alike, of its shape and at its address.

        Raises ``BackendError`` for a shape the network does not take.
        """
        ...

    def close(self) -> None: ...
