"""``FaceAnalyzer``'s twin on a GPU with TensorRT engines: the same calls, one thread that owns the GPU behind them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgeface.cuda.compile import compiled
from edgeface.cuda.context import Context
from edgeface.cuda.device_thread import DeviceThread
from edgeface.cuda.stream import Stream
from edgeface.cuda.transfers import TransferStats
from edgeface.gpu.device_frame import DeviceFrame
from edgeface.gpu.pipeline import GpuPipeline
from edgeface.imaging.image_input import as_rgb
from edgeface.inference.observation import Observation
from edgeface.inference.result import Face, faces_from
from edgeface.runtime.device_engine import DeviceEngine
from edgeface.spec.metadata import detector_spec, model_spec
from edgeface.spec.model import ModelSpec
from edgeface.types import Attributes, Faces, Image

T = TypeVar("T")


@dataclass
class GpuParts:
    """What lives on the GPU's thread: the pipeline, and all it needs, in the order to free it."""

    pipeline: GpuPipeline
    resources: ExitStack
    device: str


class GpuAnalyzer:
    """Every face of an image by one pass on the GPU.

    ``open_parts`` makes what lives on the GPU (``engine_parts`` for two engines); it runs on the thread that owns it.
    Raises what opening raises: ``BackendError`` for a GPU that is missing or too full, ``ArtifactError`` for an engine
    of another machine, ``MissingDependencyError`` without TensorRT or, for the first run's kernels, nvcc.
    """

    def __init__(self, open_parts: Callable[[], GpuParts]) -> None:
        self._owner = DeviceThread(open_parts, _free, "GPU's thread")
        self.spec: ModelSpec
        self.spec, self.device, self.ledger, self.batch_size = self._owner.call(
            lambda parts: (parts.pipeline.spec, parts.device, parts.pipeline.ledger, parts.pipeline.together)
        )

    ledger: TransferStats
    """What every frame cost."""
    batch_size: int
    """How many images ``observe`` takes in one call."""

    def analyze(self, frame: Image | DeviceFrame) -> tuple[Faces, Attributes]:
        """Faces and attributes of an image, from the host or on the GPU already."""
        return self._owner.call(lambda parts: parts.pipeline(frame))

    def analyze_batch(self, frames: Sequence[Image | DeviceFrame]) -> list[tuple[Faces, Attributes]]:
        """The same of images of several streams, in one go as far as the networks take it."""
        return self._owner.call(lambda parts: parts.pipeline.answer(frames))

    def observe(self, images: Sequence[Image | DeviceFrame]) -> list[Observation]:
        """The same as observations: faces and all their attributes come of one pass."""
        return [
            Observation(faces, attributes.__getitem__, complete=True)
            for faces, attributes in self.analyze_batch(images)
        ]

    def on_gpu(self, work: Callable[[GpuPipeline], T]) -> T:
        """What ``work`` answers of the pipeline, on the thread that owns the GPU."""
        return self._owner.call(lambda parts: work(parts.pipeline))

    def __call__(self, image: Any, colour: str = "RGB") -> list[Face]:
        """As ``FaceAnalyzer`` answers, of what it takes; a ``DeviceFrame`` says its order itself."""
        faces, attributes = self.analyze(image if isinstance(image, DeviceFrame) else as_rgb(image, colour))
        return faces_from(faces, attributes, self.spec)

    def close(self) -> None:
        """Free the GPU and end its thread; closing twice is harmless."""
        self._owner.close()

    def __enter__(self) -> GpuAnalyzer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def engine_parts(
    detector: str | os.PathLike[str],
    attributes: str | os.PathLike[str],
    index: int = 0,
    score_threshold: float | None = None,
) -> GpuParts:
    """The pipeline of two TensorRT engines on GPU ``index``, for the thread that calls this."""
    from edgeface.runtime.trt_device import TrtDeviceEngine

    return _parts((detector, attributes), lambda path, stream: TrtDeviceEngine(path, index), index, score_threshold)


def onnx_parts(
    detector: str | os.PathLike[str],
    attributes: str | os.PathLike[str],
    provider: str,
    index: int = 0,
    score_threshold: float | None = None,
) -> GpuParts:
    """The pipeline of two ONNX models by ONNX Runtime's ``provider`` (``ort_device.ON_GPU``), as ``engine_parts``.

    Everything but the networks runs as it does with engines; nothing is captured.
    """
    from edgeface.runtime.ort_device import OrtDeviceEngine

    def opened(path: Path, stream: Stream) -> DeviceEngine:
        return OrtDeviceEngine(path, stream.handle, index, provider)

    return _parts((detector, attributes), opened, index, score_threshold)


def _parts(
    models: tuple[str | os.PathLike[str], str | os.PathLike[str]],
    opened: Callable[[Path, Stream], DeviceEngine],
    index: int,
    score_threshold: float | None,
) -> GpuParts:
    """Context, stream, both networks by ``opened`` and the pipeline, freed in the opposite order."""
    detector, attributes = map(Path, models)
    with ExitStack() as stack:
        context = stack.enter_context(Context(index))
        stream = Stream(context)
        engines: list[DeviceEngine] = []
        for path in (detector, attributes):
            engines.append(opened(path, stream))
            stack.callback(engines[-1].close)
        image, specs = compiled(context.capability), (detector_spec(detector), model_spec(attributes))
        pipeline = GpuPipeline(
            context, image, engines[0], specs[0], engines[1], specs[1], score_threshold, stream=stream
        )
        stack.callback(pipeline.close)
        return GpuParts(pipeline, stack.pop_all(), engines[1].device)


def _free(parts: GpuParts) -> None:
    parts.resources.close()
