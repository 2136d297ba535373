"""What a runtime is: names and shapes of its inputs and outputs, ``infer``, ``close``. One file per runtime."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ArtifactError, BackendError

Feed = Mapping[str, NDArray[Any]]
REFERENCE_RUNTIME = "onnxruntime"
"""What runs ONNX files by default, and in any case where they are proven, judged or measured."""
ONNX_RUNTIMES = (REFERENCE_RUNTIME, "openvino")
"""What runs ONNX files on a CPU, the default first."""
RUNTIME_VARIABLE = "EDGEFACE_RUNTIME"
"""The environment variable that names one of them for who analyses images."""


@dataclass(frozen=True)
class TensorInfo:
    """Name, dtype and shape of a tensor; ``None`` in the shape is a size chosen at runtime."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


@runtime_checkable
class Backend(Protocol):
    """A loaded artefact, ready to answer. Use it as a context manager or call ``close``."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]: ...

    @property
    def outputs(self) -> tuple[TensorInfo, ...]: ...

    @property
    def device(self) -> str:
        """The device and provider it really runs on, for people ("CPU (CPUExecutionProvider, 2 threads)")."""
        ...

    def infer(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """All outputs by name for inputs by name. Raises ``BackendError`` on wrong names, dtypes or shapes."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Backend: ...

    def __exit__(self, *exc: object) -> None: ...


_Opened = TypeVar("_Opened", bound="OpenModel")


class OpenModel(ABC):
    """What is alike in our backends; each sets ``_inputs`` and ``_outputs`` as it opens its model."""

    _inputs: tuple[TensorInfo, ...]
    _outputs: tuple[TensorInfo, ...]

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return self._outputs

    @abstractmethod
    def close(self) -> None:
        """Free the model; closing twice is harmless."""

    def __enter__(self: _Opened) -> _Opened:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def wanted_runtime() -> str:
    """The one of ``ONNX_RUNTIMES`` that the environment names, or the default. Raises ``BackendError`` for another."""
    name = os.environ.get(RUNTIME_VARIABLE) or REFERENCE_RUNTIME
    check_runtime(RUNTIME_VARIABLE, name)
    return name


def check_runtime(where: str, name: str) -> None:
    """Raise ``BackendError`` unless ``name`` is one of ``ONNX_RUNTIMES``."""
    if name not in ONNX_RUNTIMES:
        raise BackendError(f"{where}: expected {' or '.join(ONNX_RUNTIMES)}, found `{name}`")


def usable_cpus() -> int:
    """CPUs this process may use; a container's pinning counts, which the runtimes' own defaults overlook."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(threads: int) -> int:
    """The CPU threads that ``threads`` means (0: one for each usable CPU). Raises ``BackendError`` below 0."""
    if threads < 0:
        raise BackendError(f"threads: expected 0 (all cores) or more, found {threads}")
    return threads or usable_cpus()


def on_cpu(engine: str, threads: int) -> str:
    """A backend's ``device`` for people: ``CPU (CPUExecutionProvider, 2 threads)``."""
    return f"CPU ({engine}, {threads} thread{'s' if threads > 1 else ''})"


def check_file(path: Path) -> None:
    """Raise ``ArtifactError`` unless there is a file at ``path``."""
    if not path.is_file():
        raise ArtifactError(f"no model at `{path}`: " + ("it is a directory" if path.is_dir() else "no such file"))


def first_line(error: Exception) -> str:
    """What an error says, in at most 200 characters of one line."""
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def check_feed(inputs: tuple[TensorInfo, ...], feed: Feed) -> None:
    """Raise ``BackendError`` unless ``feed`` has exactly these names, dtypes and shapes."""
    if set(feed) != {info.name for info in inputs}:
        raise BackendError(f"expected inputs {sorted(i.name for i in inputs)}, found {sorted(feed)}")
    for info in inputs:
        array = feed[info.name]
        fits = array.ndim == len(info.shape) and all(w is None or w == g for w, g in zip(info.shape, array.shape))
        if array.dtype != info.dtype or not fits:
            wanted = tuple("?" if want is None else want for want in info.shape)
            raise BackendError(
                f"input `{info.name}`: expected {info.dtype} {wanted}, found {array.dtype} {tuple(array.shape)}"
            )
