"""ONNX Runtime bound to the emulated GPU's memory: the same answers, no copies of its own, nothing captured."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.cuda.context import Context
from edgeface.cuda.stream import Stream
from edgeface.cuda.transfers import D2H, H2D, LAUNCH, WAIT
from edgeface.errors import ArtifactError, BackendError
from edgeface.gpu.pipeline import GpuPipeline
from edgeface.imaging.image_io import read_image
from edgeface.runtime import ort_device
from edgeface.runtime.ort_device import OrtCall, OrtDeviceEngine, gpu_provider
from edgeface.spec.metadata import detector_spec, model_spec
from tests.cuda import emulated
from tests.cuda.pipelines import DETECTOR, NETWORK, PORTRAITS, assert_same, by_cpu


class BoundCall:
    """A call that runs when the emulated stream does, as a provider's on a GPU would."""

    def __init__(self, call: OrtCall) -> None:
        self._call = call
        self._callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: call.enqueue(0))

    def enqueue(self, stream: int) -> None:
        emulated.library().cuLaunchHostFunc(stream, ctypes.cast(self._callback, ctypes.c_void_p), None)

    def close(self) -> None:
        self._call.close()


class BoundOnCpu(OrtDeviceEngine):
    """The CPU's provider, to whose memory the emulated GPU's belongs."""

    memory = "cpu"

    def __init__(self, path: Path) -> None:
        super().__init__(path, 0, provider="cpu")

    def bind(self, shapes: Any, addresses: Any) -> Any:
        return BoundCall(super().bind(shapes, addresses))


def test_bound_models_answer_as_the_cpus() -> None:
    images = [np.ascontiguousarray(read_image(path)[::2, ::2]) for path in PORTRAITS[:2]]
    with emulated.context() as context:
        networks = BoundOnCpu(DETECTOR), BoundOnCpu(NETWORK)
        specs = detector_spec(DETECTOR), model_spec(NETWORK)
        pipeline = GpuPipeline(context, emulated.IMAGE, networks[0], specs[0], networks[1], specs[1])
        assert not pipeline.captures
        for image in (*images, *images):
            assert_same(pipeline(image), by_cpu(image))
            frame = context.ledger.frames[-1]
            assert [frame.calls(kind) for kind in (H2D, D2H, WAIT, LAUNCH)] == [1, 1, 1, 0]
        for found, image in zip(pipeline.answer(images), images, strict=True):
            assert_same(found, by_cpu(image))
        pipeline.close()
    assert emulated.alive() == 0


def test_a_provider_that_is_not_there_is_not_replaced_silently() -> None:
    if gpu_provider():
        pytest.skip("this ONNX Runtime has a GPU's provider")
    with pytest.raises(BackendError, match="by CPUExecutionProvider, not by CUDAExecutionProvider as asked"):
        OrtDeviceEngine(NETWORK, 0)


def test_cuda_comes_before_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, wanted in ((("cpu",), None), (("tensorrt", "cpu"), "tensorrt"), (("cpu", "tensorrt", "cuda"), "cuda")):
        monkeypatch.setattr(ort_device, "available_providers", lambda found=found: found)
        assert gpu_provider() == wanted


def test_calls_belong_to_their_stream_and_end() -> None:
    with emulated.context() as context:
        engine = BoundOnCpu(NETWORK)
        call = OrtDeviceEngine.bind(engine, *places(context, engine))
        with pytest.raises(BackendError, match="works on the stream that it was opened with"):
            call.enqueue(Stream(context).handle)
        call.close()
        call.close()
        with pytest.raises(BackendError, match="this call is closed"):
            call.enqueue(0)
        engine.close()
        with pytest.raises(BackendError, match="this model is closed"):
            engine.bind({}, {})


def places(context: Context, engine: OrtDeviceEngine) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Shapes and addresses for a batch of one."""
    from edgeface.cuda.context import DeviceBuffer

    shapes = {info.name: tuple(size or 1 for size in info.shape) for info in (*engine.inputs, *engine.outputs)}
    return shapes, {name: DeviceBuffer(context, 4 * int(np.prod(shape))).address for name, shape in shapes.items()}


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no model at"):
        BoundOnCpu(tmp_path / "none.onnx")
