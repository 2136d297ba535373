"""TensorRT engines as a backend, on TensorRT 8.6, 10 and 11 alike (``trt_builder`` makes them).

Only these two files touch TensorRT. Importing them where it is not installed raises ``MissingDependencyError``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgeface.common import machine
from edgeface.common.install import missing
from edgeface.cuda.pycuda_context import Device, find_gpu, keep_context
from edgeface.errors import ArtifactError, BackendError, MissingDependencyError
from edgeface.runtime.base import Feed, OpenModel, TensorInfo, check_feed
from edgeface.spec.passport import Passport, check_passport

try:
    import tensorrt as trt
except ImportError as error:
    if machine.jetson():
        raise MissingDependencyError(
            "no TensorRT in this Python: on a Jetson it is JetPack's, sudo apt install python3-libnvinfer, "
            "in a virtual environment made with --system-site-packages"
        ) from error
    raise missing("tensorrt", "gpu", "building or running an engine") from error
except OSError as error:
    raise MissingDependencyError(
        f"TensorRT is installed but cannot be loaded ({error}): install the one that fits this machine's CUDA"
    ) from error

__all__ = ["Log", "TrtBackend", "bytes_of", "identity", "load", "tensor_infos", "trt"]
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


class TrtBackend(OpenModel):
    """A TensorRT engine on this machine's GPU.

    The engine's passport is checked first: an engine is bound to a GPU and a TensorRT release, and its file holds
    executable code. A batch above the engine's largest is run in parts, one below its smallest (a DLA's only) is filled
    up with zeros. Not for two threads at once.

    Raises ``ArtifactError`` where engine and passport, or passport and machine, do not belong together,
    ``BackendError`` without a GPU, ``MissingDependencyError`` without PyCUDA.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._gpu = find_gpu()
        passport = check_passport(path, identity())
        self._device: Device | None = Device()
        self._log = Log()  # TensorRT may keep no reference of its own
        try:
            with self._device.active():
                self._engine, self._context = _opened(Path(path), passport, self._log)
            self._inputs, self._outputs = tensor_infos(self._engine)
        except BaseException:
            self._device.close()
            raise
        smallest, _, largest = self._engine.get_tensor_profile_shape(self._inputs[0].name, 0)
        self._batches = (smallest[0], largest[0])

    @property
    def device(self) -> str:
        """For people: ``GPU (Orin, TensorRT 10.3.0)``."""
        return f"GPU ({self._gpu.name}, TensorRT {trt.__version__})"

    def infer(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """All outputs by name. Raises ``BackendError`` on a wrong feed, a failing engine or after ``close``."""
        if self._device is None:
            raise BackendError("this backend is closed, open the engine again")
        check_feed(self._inputs, feed)
        count, (smallest, largest) = len(feed[self._inputs[0].name]), self._batches
        with self._device.active():
            parts = []
            for start in range(0, count, largest):
                part = {name: _at_least(array[start : start + largest], smallest) for name, array in feed.items()}
                answers = self._run(self._device, part)
                parts.append({name: array[: min(largest, count - start)] for name, array in answers.items()})
        if not parts:
            raise BackendError("expected a batch of 1 or more, found an empty one")
        return {info.name: np.concatenate([part[info.name] for part in parts]) for info in self._outputs}

    def _run(self, device: Device, feed: Feed) -> dict[str, NDArray[Any]]:
        for name, array in feed.items():
            if not self._context.set_input_shape(name, trt.Dims(list(array.shape))):
                raise BackendError(f"input `{name}`: {self._range(name)}, found {array.shape}")
            address = device.buffer(name, array.nbytes)
            device.upload(address, array)
            self._context.set_tensor_address(name, address)
        answers, addresses = {}, {}
        for info in self._outputs:
            answers[info.name] = np.empty(_sizes(self._context.get_tensor_shape(info.name)), info.dtype)
            address = device.buffer(info.name, answers[info.name].nbytes)
            addresses[address] = answers[info.name]
            self._context.set_tensor_address(info.name, address)
        if not self._context.execute_async_v3(device.stream):
            raise BackendError("TensorRT could not run the engine")
        device.download(addresses)
        return answers

    def _range(self, name: str) -> str:
        smallest, _, largest = (_sizes(shape) for shape in self._engine.get_tensor_profile_shape(name, 0))
        return f"this engine takes {smallest} to {largest}"

    def close(self) -> None:
        """Free engine and memory; closing twice is harmless."""
        if self._device is None:
            return
        with self._device.active():
            del self._context, self._engine
        self._device.close()
        self._device = None


class Log(trt.ILogger):  # type: ignore[misc, unused-ignore]
    """Keeps TensorRT's errors and warnings for our own messages instead of printing them."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            self.errors.append(msg)
        elif severity == trt.ILogger.Severity.WARNING:
            self.warnings.append(msg)

    def reason(self) -> str:
        """The first error in one line; later ones are mostly its consequences."""
        return self.errors[0].strip().splitlines()[0][:300] if self.errors else "it gives no reason"


def identity(index: int = 0) -> dict[str, str]:
    """What an engine on GPU ``index`` is bound to: GPU, its generation, TensorRT's release.

    Raises ``BackendError`` without that GPU.
    """
    gpu = find_gpu(index)
    return {"gpu": gpu.name, "compute_capability": gpu.compute_capability, "tensorrt": trt.__version__}


def _opened(path: Path, passport: Passport, log: Log) -> tuple[trt.ICudaEngine, trt.IExecutionContext]:
    """The engine and a context to run it in. Raises ``ArtifactError``, ``BackendError`` where memory is short."""
    engine = load(path.read_bytes(), log, bool(passport.recipe.get("version_compatible")))
    if engine is None:
        raise ArtifactError(
            f"TensorRT {trt.__version__} refuses the engine `{path}` ({log.reason()}), build it again: "
            f"{passport.rebuild}"
        )
    context = engine.create_execution_context()
    if context is None:
        raise BackendError(
            f"TensorRT {trt.__version__} cannot run the engine `{path}` ({log.reason()}); free memory of the GPU, or "
            "build the engine with a smaller --max-batch"
        )
    return engine, context


def load(engine: bytes, log: Log, version_compatible: bool, index: int = 0) -> trt.ICudaEngine | None:
    """The engine, or ``None`` where this TensorRT or GPU refuses it; ``log`` then knows why."""
    keep_context(index)
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = version_compatible  # such an engine brings its own lean runtime
    return runtime.deserialize_cuda_engine(engine)


def bytes_of(memory: trt.IHostMemory) -> bytes:
    """Memory that TensorRT owns, copied."""
    return memoryview(cast(Any, memory)).tobytes()


def _sizes(dims: trt.Dims) -> tuple[int, ...]:
    """A shape as a tuple; a free size is -1."""
    return tuple(dims[axis] for axis in range(len(dims)))


def tensor_infos(engine: trt.ICudaEngine) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """An engine's inputs and outputs."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    feeds = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    answers = [name for name in names if name not in feeds]
    return tuple(_tensor_info(engine, name) for name in feeds), tuple(_tensor_info(engine, name) for name in answers)


def _tensor_info(engine: trt.ICudaEngine, name: str) -> TensorInfo:
    kind = engine.get_tensor_dtype(name).name
    if kind not in _DTYPES:
        raise ArtifactError(f"tensor `{name}` of the engine is {kind}, which NumPy has no type for")
    shape = _sizes(engine.get_tensor_shape(name))
    return TensorInfo(name, np.dtype(_DTYPES[kind]), tuple(None if size < 0 else size for size in shape))


def _at_least(array: NDArray[Any], count: int) -> NDArray[Any]:
    """``array``, contiguous, with zeros behind it where it has fewer than ``count`` rows."""
    missing = max(count - len(array), 0)
    rows = np.zeros((missing, *array.shape[1:]), array.dtype)
    return np.ascontiguousarray(np.concatenate([array, rows]) if missing else array)
