"""Which device runs the pipeline: the one asked for, or the processor with a line that says which piece is missing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from edgeface.api import FaceAnalyzer
from edgeface.common.files import ENGINE_SUFFIX
from edgeface.cuda.driver import Driver
from edgeface.errors import BackendError, ConfigError, MissingDependencyError
from edgeface.gpu.analyzer import GpuAnalyzer, engine_parts, onnx_parts
from edgeface.inference.attributes import AttributeEstimator
from edgeface.inference.detector import FaceDetector, attribute_model, detector_model
from edgeface.inference.result import Face
from edgeface.pipeline.runner import Analyzer
from edgeface.runtime.ort import OrtBackend
from edgeface.runtime.ort_device import gpu_provider
from edgeface.spec.metadata import detector_spec, model_spec
from edgeface.types import Image

Note = Callable[[str], None]
_PATTERN = re.compile(r"auto|cpu|cuda(?::(\d+))?")


class AnyAnalyzer(Analyzer, Protocol):
    """What ``open_analyzer`` gives: ``FaceAnalyzer`` or its twin on the GPU."""

    def __call__(self, image: Image | str | os.PathLike[str]) -> list[Face]: ...

    def close(self) -> None: ...

    def __enter__(self) -> AnyAnalyzer: ...

    def __exit__(self, *exc: object) -> None: ...


@dataclass(frozen=True)
class Request:
    """What to open: the device ("auto", "cpu", "cuda" or "cuda:N"), the models (``None``: the shipped ones) and their
    settings. ``min_face`` in pixels as in ``FaceDetector``; analyzers that keep frames on the GPU look at each once and
    leave it out. With ``strict`` a missing piece is an error instead of a line."""

    device: str = "auto"
    strict: bool = False
    model: Path | None = None
    detector: Path | None = None
    threads: int = 0
    score: float | None = None
    batch: int = 32
    min_face: float | None = None

    def __post_init__(self) -> None:
        if not _PATTERN.fullmatch(self.device):
            raise ConfigError(f"--device `{self.device}`: expected auto, cpu, cuda or cuda:N as in cuda:0")
        if self.strict and self.device == "auto":
            raise ConfigError("--strict-device needs a device to insist on: add --device cpu or --device cuda:0")

    @property
    def index(self) -> int:
        """The GPU's number."""
        match = _PATTERN.fullmatch(self.device)
        return int(match[1] or 0) if match else 0

    @property
    def paths(self) -> tuple[Path, Path]:
        """Detector and attribute network."""
        return detector_model(self.detector), attribute_model(self.model)


def open_analyzer(request: Request, note: Note) -> AnyAnalyzer:
    """The analyzer of ``request``. ``note`` gets one line where a GPU that was wished for, or is there, is not used.

    "auto" on a machine without an NVIDIA driver misses nothing and says nothing. Raises ``BackendError`` or
    ``MissingDependencyError`` naming the missing piece where the request is strict.
    """
    if request.device == "cpu" or (request.device == "auto" and not Driver.installed()):
        return _on_cpu(request)
    try:
        return _on_gpu(request, note)
    except (BackendError, MissingDependencyError) as error:
        if request.strict:
            raise
        note(f"running on the CPU: {error}")
        return _on_cpu(request)


def _on_cpu(request: Request) -> FaceAnalyzer:
    """Both models step by step; an engine among them brings its own device."""
    detector = FaceDetector(
        request.detector, threads=request.threads, score_threshold=request.score, min_face=request.min_face
    )
    return FaceAnalyzer(detector, AttributeEstimator(request.model, threads=request.threads, batch=request.batch))


def _on_gpu(request: Request, note: Note) -> AnyAnalyzer:
    """Two engines as one pass; two ONNX files by ONNX Runtime's CUDA or TensorRT provider, where it has one."""
    count = Driver().number("cuDeviceGetCount")
    if request.index >= count:
        raise BackendError(f"no GPU {request.index} here: found {count}, counted from 0")
    detector, model = request.paths
    engines = [path for path in (detector, model) if path.suffix.lower() == ENGINE_SUFFIX]
    if len(engines) == 2:
        return GpuAnalyzer(partial(engine_parts, detector, model, request.index, request.score))
    if engines:
        (other,) = {detector, model} - set(engines)
        raise BackendError(f"`{other}` is no engine: {_build(other)}")
    return _by_onnxruntime(request, detector, model, note)


def _by_onnxruntime(request: Request, detector: Path, model: Path, note: Note) -> AnyAnalyzer:
    """One pass as with engines; only the networks on the GPU for a detector of someone else's, or without nvcc."""
    provider = gpu_provider()
    if provider is None:
        raise BackendError(f"no engines, and this ONNX Runtime has no CUDA provider: {_build(detector, model)}")
    if detector_spec(detector) is not None:
        try:
            return GpuAnalyzer(partial(onnx_parts, detector, model, provider, request.index, request.score))
        except MissingDependencyError as error:
            if request.strict:
                raise
            note(f"only the networks run on the GPU, with copies between them: {error}")
    backends = [OrtBackend(path, request.threads, provider, index=request.index) for path in (detector, model)]
    if not all(backend.device.startswith("GPU") for backend in backends):
        for backend in backends:
            backend.close()
        raise BackendError(f"ONNX Runtime could not open the models on the GPU: {_build(detector, model)}")
    finder = FaceDetector(
        backend=backends[0], spec=detector_spec(detector), score_threshold=request.score, min_face=request.min_face
    )
    estimator = AttributeEstimator(backend=backends[1], spec=model_spec(model), batch=request.batch)
    return FaceAnalyzer(finder, estimator)


def _build(*models: Path) -> str:
    """What to do about models that are no engines yet."""
    return "build with " + " and ".join(f"edgeface build-engine {path} --target tensorrt" for path in models)
