"""OpenVINO as a backend: the only file that opens its models. For x86 and ARM CPUs, by ``EDGEFACE_RUNTIME=openvino``
where images are analysed.

``make bench`` holds it against ONNX Runtime, the default: it pays for INT8 networks in batches of one size.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.common.install import missing
from edgeface.errors import ArtifactError, BackendError
from edgeface.runtime.base import Feed, OpenModel, TensorInfo, check_feed, check_file, first_line, on_cpu, thread_count

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Of a feed's arrays, by name."""
_OFTEN = 3
"""Uses of a shape after which a network of just this shape is compiled: faster, but it takes tenths of a second."""
_FIXED = 8
"""Shapes that may have a network of their own, each with its copy of the weights."""


class OpenVinoBackend(OpenModel):
    """An ONNX model compiled by OpenVINO for this CPU, set up for latency.

    One network takes any shape; shapes that come often get one of their own, which OpenVINO runs up to a third faster.
    ``threads`` run one inference (0: one for each CPU this process may use). Float networks are computed in float32,
    also on processors that would take bfloat16 by themselves, so that answers stay those of ONNX Runtime within the
    spec's tolerances. One object is not for two threads at once: a network answers one request at a time.

    Raises ``ArtifactError`` where the file is missing, damaged or not an ONNX model that OpenVINO can compile,
    ``MissingDependencyError`` without OpenVINO.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 0) -> None:
        self.threads = thread_count(threads)
        path, openvino = Path(path), _openvino()
        check_file(path)
        self.version = str(openvino.__version__).partition("-")[0]
        self._core = openvino.Core()
        self._options = {
            "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            self._model = self._core.read_model(str(path))
            self._inputs = tuple(_tensor_info(port) for port in self._model.inputs)
            self._outputs = tuple(_tensor_info(port) for port in self._model.outputs)
            self._any_shape: Any = self._request(self._model)
        except Exception as error:  # its exceptions share no base class
            raise ArtifactError(
                f"`{path}` is not an ONNX model that OpenVINO {self.version} can compile, "
                f"copy or export it again ({first_line(error)})"
            ) from error
        self._uses: Counter[Shapes] = Counter()
        self._fixed: dict[Shapes, Any] = {}

    def _request(self, model: Any) -> Any:
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()

    def _request_for(self, feed: Feed) -> Any:
        """The network of just these shapes where they come often, else the one for all."""
        shapes: Shapes = tuple((name, array.shape) for name, array in sorted(feed.items()))
        self._uses[shapes] += 1
        if shapes not in self._fixed and self._uses[shapes] > _OFTEN and len(self._fixed) < _FIXED:
            model = self._model.clone()
            model.reshape({name: list(shape) for name, shape in shapes})
            self._fixed[shapes] = self._request(model)
        return self._fixed.get(shapes, self._any_shape)

    @property
    def device(self) -> str:
        """For people: ``CPU (OpenVINO 2026.4.1, 2 threads)``."""
        return on_cpu(f"OpenVINO {self.version}", self.threads)

    def infer(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """All outputs by name. Raises ``BackendError`` on a wrong feed, a failing operator or after ``close``."""
        if self._any_shape is None:
            raise BackendError("this backend is closed, open the model again")
        check_feed(self._inputs, feed)
        try:
            found = self._request_for(feed).infer(dict(feed))
        except Exception as error:  # its exceptions share no base class
            raise BackendError(f"OpenVINO could not run the model: {first_line(error)}") from error
        return {info.name: np.array(found[info.name]) for info in self._outputs}  # copies: the next run writes there

    def close(self) -> None:
        """Free the networks; closing twice is harmless."""
        self._any_shape = self._model = None
        self._fixed.clear()


def _tensor_info(port: Any) -> TensorInfo:
    shape = tuple(size.get_length() if size.is_static else None for size in port.get_partial_shape())
    return TensorInfo(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()), shape)


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise missing("openvino", "openvino", "EDGEFACE_RUNTIME=openvino") from error
    return openvino
