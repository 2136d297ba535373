"""ONNX Runtime's CUDA and TensorRT providers on device addresses: the second choice, where TensorRT itself is missing.

Inputs and outputs are bound to the GPU's memory and the work goes to the pipeline's own stream, so that nothing is
copied or waited for. ONNX Runtime allocates as it runs: its calls do not become part of a captured graph.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeface.common.files import cache_dir
from edgeface.errors import BackendError
from edgeface.runtime.base import TensorInfo, first_line
from edgeface.runtime.device_engine import Shape
from edgeface.runtime.ort import PROVIDERS, available_providers, open_session, tensor_info, unsynchronised

ON_GPU = ("cuda", "tensorrt")
"""Providers in the order of preference: TensorRT's builds an engine for every new shape, which takes minutes."""
_LARGEST_BATCH = 64


def gpu_provider() -> str | None:
    """The provider to use on a GPU; ``None`` where the installed ONNX Runtime has none."""
    found = available_providers()
    return next((name for name in ON_GPU if name in found), None)


class OrtCall:
    """A session with all its tensors bound."""

    def __init__(self, session: Any, binding: Any, options: Any, stream: int) -> None:
        self._session, self._binding, self._options, self._stream = session, binding, options, stream

    def enqueue(self, stream: int) -> None:
        if self._binding is None:
            raise BackendError("this call is closed, bind the model again")
        if stream != self._stream:
            raise BackendError("an ONNX Runtime session works on the stream that it was opened with, found another")
        try:
            self._session.run_with_iobinding(self._binding, self._options)
        except Exception as error:  # its exceptions share no base class
            raise BackendError(f"ONNX Runtime could not run the model: {first_line(error)}") from error

    def close(self) -> None:
        self._session = self._binding = None


class OrtDeviceEngine:
    """An ONNX model for the thread that owns the GPU's context; ``stream`` is the handle of the stream to work on.

    ``provider`` is one of ``ON_GPU``. Raises ``ArtifactError`` for a file that is no ONNX model, ``BackendError`` where
    ONNX Runtime did not take the provider.
    """

    capturable = False
    batches = (1, _LARGEST_BATCH)
    memory = "cuda"
    """Where the addresses lie, in ONNX Runtime's words."""

    def __init__(self, path: str | os.PathLike[str], stream: int, index: int = 0, provider: str = "cuda") -> None:
        self._stream, self._index = stream, index
        options = {"device_id": str(index), "user_compute_stream": str(stream)}
        if provider == "tensorrt":
            options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache_dir() / "onnxruntime-trt")}
        settings = options if provider in ON_GPU else {}
        self._session: Any = open_session(Path(path), 1, {PROVIDERS[provider]: settings})
        taken = self._session.get_providers()[0]
        if taken != PROVIDERS[provider]:
            raise BackendError(f"ONNX Runtime runs `{path}` by {taken}, not by {PROVIDERS[provider]} as asked")
        self._options = unsynchronised()
        self.device = f"GPU {index} ({taken}, I/O binding)"
        self.inputs: tuple[TensorInfo, ...] = tuple(map(tensor_info, self._session.get_inputs()))
        self.outputs: tuple[TensorInfo, ...] = tuple(map(tensor_info, self._session.get_outputs()))

    def bind(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> OrtCall:
        """See ``DeviceEngine``."""
        if self._session is None:
            raise BackendError("this model is closed, open it again")
        binding = self._session.io_binding()
        for infos, bind in ((self.inputs, binding.bind_input), (self.outputs, binding.bind_output)):
            for info in infos:
                place = self.memory, self._index, info.dtype.type, shapes[info.name], addresses[info.name]
                bind(info.name, *place)
        return OrtCall(self._session, binding, self._options, self._stream)

    def close(self) -> None:
        """Let go of the session; that of a call goes with it."""
        self._session = None
