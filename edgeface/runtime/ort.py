"""ONNX Runtime as a backend: the only file that opens its sessions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.common.install import missing
from edgeface.errors import ArtifactError, BackendError
from edgeface.runtime.base import Feed, OpenModel, TensorInfo, check_feed, check_file, first_line, on_cpu, thread_count
from edgeface.spec.precision import needs_simulation, precision_in

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_DTYPES = {"float": "float32", "double": "float64"}
_SILENT = 4
"""Severity "fatal": ONNX Runtime raises its errors as well, and one sentence is enough."""


class OrtBackend(OpenModel):
    """An ONNX model in an ONNX Runtime session set up for latency.

    ``threads`` run one operator (0: one for each CPU this process may use); operators run one after the other, since
    small networks have no branches worth a second pool. The threads spin during a run and sleep after it, so that
    between two runs the cores belong to decoding and drawing. ``provider`` "cuda" or "tensorrt" on GPU ``index`` is a
    wish: ``device`` and ``providers`` say what ONNX Runtime really took. ``simulate`` keeps the graph as it is written:
    in an 8-bit model every Q/DQ pair rounds a float, and no integer kernel is used.

    Raises ``ArtifactError`` where the file is missing, damaged or not an ONNX model this version can load,
    ``BackendError`` for an unknown provider, and for an 8-bit model that this processor's kernels would get wrong.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 0,
        provider: str = "cpu",
        simulate: bool = False,
        index: int = 0,
    ) -> None:
        if provider not in PROVIDERS:
            raise BackendError(f"no provider `{provider}`: expected one of {', '.join(PROVIDERS)}")
        self.threads = thread_count(threads)
        settings = {} if provider == "cpu" else {"device_id": str(index)}
        self._session: Any = open_session(Path(path), self.threads, {PROVIDERS[provider]: settings}, simulate)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self._inputs = tuple(tensor_info(value) for value in self._session.get_inputs())
        self._outputs = tuple(tensor_info(value) for value in self._session.get_outputs())
        if not simulate and self.providers[0] == PROVIDERS["cpu"]:
            self._refuse_wrong_flavour(Path(path))

    def _refuse_wrong_flavour(self, path: Path) -> None:
        precision = precision_in(self._session.get_modelmeta().custom_metadata_map)
        if needs_simulation(precision):
            assert precision is not None
            raise BackendError(
                f"`{path}` is int8 with signed activations, for the target {precision.target}; this x86 processor has "
                "no VNNI, its 16-bit sums would saturate (measured: ages 1.2 years worse): quantise with "
                "--target cpu-x86"
            )

    @property
    def device(self) -> str:
        """For people: ``CPU (CPUExecutionProvider, 2 threads)``."""
        first = self.providers[0]
        if first != PROVIDERS["cpu"]:
            return f"GPU ({first})"
        return on_cpu(first, self.threads)

    def infer(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """All outputs by name. Raises ``BackendError`` on a wrong feed, a failing operator or after ``close``."""
        if self._session is None:
            raise BackendError("this backend is closed, open the model again")
        check_feed(self._inputs, feed)
        names = [info.name for info in self._outputs]
        try:
            answers = self._session.run(names, dict(feed))
        except Exception as error:  # its exceptions share no base class
            raise BackendError(f"ONNX Runtime could not run the model: {first_line(error)}") from error
        return dict(zip(names, answers))

    def close(self) -> None:
        """Free the session; closing twice is harmless."""
        self._session = None


def available_providers() -> tuple[str, ...]:
    """Which of ``PROVIDERS`` the installed ONNX Runtime has, by our names."""
    found = _onnxruntime().get_available_providers()
    return tuple(name for name, provider in PROVIDERS.items() if provider in found)


def open_session(path: Path, threads: int, providers: Mapping[str, Mapping[str, str]], simulate: bool = False) -> Any:
    """A session on the first of ``providers``, by ONNX Runtime's names with their options, that it has.

    The processor is the last resort. Raises as ``OrtBackend`` does.
    """
    onnxruntime = _onnxruntime()
    check_file(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_DISABLE_ALL if simulate else levels.ORT_ENABLE_ALL
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.force_spinning_stop", "1")
    installed = onnxruntime.get_available_providers()
    wanted = {name: dict(settings) for name, settings in providers.items() if name in installed}
    wanted.setdefault(PROVIDERS["cpu"], {})
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(wanted.items()))
    except Exception as error:  # its exceptions share no base class
        raise ArtifactError(
            f"`{path}` is not an ONNX model that ONNX Runtime {onnxruntime.__version__} can load, "
            f"copy or export it again ({first_line(error)})"
        ) from error


def unsynchronised() -> Any:
    """Run options by which a session on a GPU does not wait for its work."""
    options = _onnxruntime().RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return options


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime", "", "running an ONNX model") from error
    return onnxruntime


def tensor_info(value: Any) -> TensorInfo:
    """Name, dtype and shape of a session's value; its type reads ``tensor(float)``, ``tensor(uint8)``…"""
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    try:
        dtype = np.dtype(_DTYPES.get(kind, kind))
    except TypeError as error:
        raise ArtifactError(f"`{value.name}` has the type {value.type}, expected a tensor of numbers") from error
    return TensorInfo(value.name, dtype, tuple(size if isinstance(size, int) else None for size in value.shape))
