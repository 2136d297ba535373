"""This machine as if it had a GPU: the emulated driver in the driver's place, ONNX Runtime in TensorRT's.

As a pytest plugin (``python -m pytest -p tests.cuda.as_gpu tests/gpu/test_pipeline.py``) it runs the GPU's own tests,
so that the day a GPU is at hand is not the first time they run; imported before anything else it does the same for a
script. Engines are then the models themselves.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from edgeface.cuda import compile as kernels
from edgeface.cuda import context as cuda_context
from edgeface.cuda import pycuda_context as cuda
from edgeface.cuda.driver import Driver
from edgeface.cuda.pycuda_context import Gpu
from edgeface.runtime.open import open_backend
from tests.cuda import emulated

FRAMES = 5
"""Instead of the ten thousand that a GPU answers in seconds."""
BATCHES = {"detector": 4, "attributes": 32}
GPU = Gpu("Emulated GPU", "8.7", "12.4", 4096)


class EmulatedDriver(Driver):
    def __init__(self) -> None:
        super().__init__(str(emulated.library_path()))


class OnnxAsEngine(emulated.EmulatedEngine):
    """A "loaded engine": the ONNX file of that name."""

    def __init__(self, path: str | os.PathLike[str], index: int = 0) -> None:
        super().__init__(open_backend(path, 1), (1, BATCHES[Path(path).stem]))


def identity(index: int = 0) -> dict[str, str]:
    """In the place of ``runtime.trt.identity``."""
    return {"gpu": GPU.name, "compute_capability": GPU.compute_capability, "tensorrt": "0.0"}


def build_engine(order: Any) -> Any:
    """In the place of ``build.build_engine``: the model is its own engine."""
    return types.SimpleNamespace(path=Path(order.model), fresh=True)


def install() -> None:
    """Have everything that is imported from now on find the emulated GPU."""
    import edgeface.build.build

    cuda_context.Driver = EmulatedDriver  # type: ignore[misc]
    cuda.find_gpu = lambda index=0: GPU
    kernels.compiled = lambda capability: emulated.IMAGE
    edgeface.build.build.build_engine = build_engine
    for name, content in {"trt": {"identity": identity}, "trt_device": {"TrtDeviceEngine": OnnxAsEngine}}.items():
        module = types.ModuleType(f"edgeface.runtime.{name}")
        module.__dict__.update(content)
        sys.modules[module.__name__] = module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for module in {item.module for item in items if isinstance(item, pytest.Function)}:
        if hasattr(module, "FRAMES"):
            module.FRAMES = FRAMES


install()
