"""TensorRT engines on device addresses, one execution context for each binding, so that each can be a graph."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgeface.errors import ArtifactError, BackendError
from edgeface.runtime.base import TensorInfo
from edgeface.runtime.device_engine import Shape
from edgeface.runtime.trt import Log, identity, load, tensor_infos, trt
from edgeface.spec.passport import check_passport


class TrtCall:
    """An execution context with all its tensors bound."""

    def __init__(self, context: trt.IExecutionContext, log: Log) -> None:
        self._context: trt.IExecutionContext | None = context
        self._log = log

    def enqueue(self, stream: int) -> None:
        if self._context is None:
            raise BackendError("this call is closed, bind the engine again")
        if not self._context.execute_async_v3(stream):
            raise BackendError(f"TensorRT could not run the engine ({self._log.reason()})")

    def close(self) -> None:
        self._context = None


class TrtDeviceEngine:
    """An engine, loaded once, for the thread whose CUDA context, that of GPU ``index``, is current.

    Its passport is checked as ``TrtBackend`` does. Raises ``ArtifactError`` where TensorRT refuses the engine.
    """

    capturable = True

    def __init__(self, path: str | os.PathLike[str], index: int = 0) -> None:
        here = identity(index)
        passport = check_passport(path, here)
        log = Log()
        engine = load(Path(path).read_bytes(), log, bool(passport.recipe.get("version_compatible")), index)
        if engine is None:
            raise ArtifactError(
                f"TensorRT {trt.__version__} refuses the engine `{path}` ({log.reason()}), "
                f"build it again: {passport.rebuild}"
            )
        self._log = log  # TensorRT keeps no reference of its own
        self._engine: trt.ICudaEngine | None = engine
        self._gpu = here["gpu"]
        self.inputs: tuple[TensorInfo, ...]
        self.outputs: tuple[TensorInfo, ...]
        self.inputs, self.outputs = tensor_infos(engine)
        smallest, _, largest = engine.get_tensor_profile_shape(self.inputs[0].name, 0)
        self.batches = (int(smallest[0]), int(largest[0]))

    @property
    def device(self) -> str:
        return f"GPU ({self._gpu}, TensorRT {trt.__version__})"

    def bind(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> TrtCall:
        """See ``DeviceEngine``."""
        if self._engine is None:
            raise BackendError("this engine is closed, open it again")
        context = self._engine.create_execution_context()
        if context is None:
            raise BackendError(f"TensorRT has no memory for another execution context ({self._log.reason()})")
        fed = {info.name: shapes[info.name] for info in self.inputs}  # the outputs' shapes follow from them
        problem = self._problem(context, fed, addresses)
        if problem:
            del context  # before the error, whose traceback would keep it beyond the life of the GPU's context
            raise BackendError(f"{problem} ({self._log.reason()})")
        return TrtCall(context, self._log)

    @staticmethod
    def _problem(context: trt.IExecutionContext, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> str:
        """Set shapes and addresses; what TensorRT refuses, in words."""
        for name, shape in shapes.items():
            if not context.set_input_shape(name, trt.Dims(list(shape))):
                return f"input `{name}`: this engine does not take {shape}"
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                return f"tensor `{name}`: TensorRT refuses its address"
        return ""

    def close(self) -> None:
        """Let go of the engine; the contexts of its calls keep what they need until they go."""
        self._engine = None
