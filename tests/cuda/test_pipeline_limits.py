"""Full memory, failures half-way, foreign streams, networks that do not fit, and the arithmetic behind it all."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgeface.cuda.context import Context, DeviceBuffer, PinnedBuffer
from edgeface.cuda.stream import Stream
from edgeface.cuda.structs import SPAN, canvas_spans, level_sizes
from edgeface.cuda.transfers import LAUNCH, WAIT
from edgeface.errors import BackendError, ConfigError, ImageError, SpecError
from edgeface.gpu.device_frame import DeviceFrame
from edgeface.gpu.pipeline import GpuPipeline
from edgeface.gpu.result_layout import ResultLayout, bucket_for
from edgeface.runtime.base import TensorInfo
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import detector_spec, model_spec
from tests.cuda import emulated
from tests.cuda.pipelines import DETECTOR, NETWORK, assert_same, by_cpu, crowd, engine, open_pipeline


def test_two_pipelines_in_one_process(portrait: np.ndarray) -> None:
    wanted = by_cpu(portrait)
    with emulated.context() as first, emulated.context() as second:
        one, other = open_pipeline(first), open_pipeline(second, graphs=False)
        for _ in range(3):
            assert_same(one(portrait), wanted)
            assert_same(other(portrait), wanted)
        assert second.ledger.frames[-1].calls(LAUNCH) == 0
    assert emulated.alive() == 0


def test_a_full_gpu_leaves_a_pipeline_that_works(context: Context, portrait: np.ndarray) -> None:
    pipeline = open_pipeline(context)
    used = (1 << 32) - context.free_bytes()
    emulated.library().emulated_limit(used + 900_000)
    try:
        with pytest.raises(BackendError, match="memory is full"):
            pipeline(portrait)
        assert context.free_bytes() == 900_000
    finally:
        emulated.library().emulated_limit(1 << 32)
    assert_same(pipeline(portrait), by_cpu(portrait))


def test_what_fails_half_way_has_ended_when_it_is_raised(context: Context, portrait: np.ndarray) -> None:
    pipeline, wanted = open_pipeline(context, graphs=False), by_cpu(portrait)
    pipeline(portrait)
    for name in (b"cuLaunchKernel", b"cuStreamSynchronize"):
        emulated.library().emulated_fail(name)
        with pytest.raises(BackendError, match=name.decode()):
            pipeline(portrait)
        assert emulated.library().emulated_pending() == 0, "nothing may still work on memory that is used again"
        assert_same(pipeline(portrait), wanted)


def test_a_network_that_cannot_be_captured_is_launched_step_by_step(
    context: Context, portrait: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    for refusing in (False, True):
        networks = [
            emulated.EmulatedEngine(open_backend(path, 1), capturable=refusing, refuses_capture=refusing)
            for path in (DETECTOR, NETWORK)
        ]
        specs = detector_spec(DETECTOR), model_spec(NETWORK)
        pipeline = GpuPipeline(context, emulated.IMAGE, networks[0], specs[0], networks[1], specs[1])
        for _ in range(3):
            assert_same(pipeline(portrait), by_cpu(portrait))
            assert context.ledger.frames[-1].calls(LAUNCH) == 0
        assert not pipeline.captures
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("no CUDA graphs, every stage is launched by itself: this network waits")


def test_buckets_stay_within_what_the_networks_take(context: Context, portrait: np.ndarray) -> None:
    image = crowd(portrait, 4, 3)
    networks = emulated.EmulatedEngine(open_backend(DETECTOR, 1), (1, 1)), engine(NETWORK, (1, 5))
    specs = detector_spec(DETECTOR), model_spec(NETWORK)
    settings = {"score_threshold": 0.3}
    pipeline = GpuPipeline(context, emulated.IMAGE, networks[0], specs[0], networks[1], specs[1], **settings)
    wanted = by_cpu(image, **settings)
    assert len(wanted[0]) > 5 and pipeline.together == 1
    for _ in range(3):
        assert_same(pipeline(image), wanted)
    assert {shape[0] for shape in networks[1].bound} <= {1, 2, 4}


def test_a_frame_that_another_stream_is_still_making_is_waited_for(context: Context, portrait: np.ndarray) -> None:
    height, width = portrait.shape[:2]
    pipeline, wanted, producer = open_pipeline(context), by_cpu(portrait), Stream(context)
    source, made = PinnedBuffer(context, portrait.nbytes), DeviceBuffer(context, portrait.nbytes)
    source.array[:] = portrait.ravel()
    for _ in range(3):
        producer.clear(made.address, portrait.nbytes // 4)
        producer.upload(made.address, source, portrait.nbytes)
        frame = DeviceFrame(made.address, width, height, 3 * width, stream=producer.handle)
        assert_same(pipeline(frame), wanted)
        assert context.ledger.frames[-1].calls(WAIT) == 1, "on the GPU, not by the host"


def test_the_chroma_of_a_surface_may_lie_elsewhere(context: Context, portrait: np.ndarray) -> None:
    import cv2

    height, width = portrait.shape[:2]
    planar = cv2.cvtColor(portrait, cv2.COLOR_RGB2YUV_I420)
    luma, chroma = (PinnedBuffer(context, size, mapped=True) for size in (height * width, height * width // 2))
    luma.array[:] = planar[:height].ravel()
    chroma.array[:] = planar[height:].reshape(2, -1).T.ravel()
    surface = DeviceFrame(luma.address, width, height, width, "nv12", chroma=chroma.address)
    found, wanted = open_pipeline(context)(surface), by_cpu(cv2.cvtColor(planar, cv2.COLOR_YUV2RGB_I420))
    np.testing.assert_allclose(found[0].boxes, wanted[0].boxes, atol=1)
    np.testing.assert_allclose(found[1].age, wanted[1].age, atol=1)


def test_sizes_beyond_the_latest_are_freed(context: Context, portrait: np.ndarray) -> None:
    pipeline = open_pipeline(context)
    sizes = [(64 + 8 * step, 96) for step in range(7)]
    free = []
    for _ in range(3):
        for width, height in sizes:
            pipeline(np.zeros((height, width, 3), np.uint8))
        free.append(context.free_bytes())
    assert free[1] == free[2]
    pipeline.close()
    pipeline(portrait)


def test_another_detector_is_refused(context: Context) -> None:
    network = engine(NETWORK)
    with pytest.raises(ConfigError, match="edgeface's own face detector only"):
        GpuPipeline(context, emulated.IMAGE, network, None, network, model_spec(NETWORK))


def test_a_detector_of_other_types_is_refused(context: Context) -> None:
    detector, network = engine(DETECTOR), engine(NETWORK)
    detector.outputs = tuple(dataclasses.replace(info, dtype=np.dtype(np.float16)) for info in detector.outputs)
    with pytest.raises(ConfigError, match="tensor `score`: the GPU pipeline expects float32, found float16"):
        GpuPipeline(context, emulated.IMAGE, detector, detector_spec(DETECTOR), network, model_spec(NETWORK))


def test_an_array_of_another_kind_is_refused(context: Context) -> None:
    with pytest.raises(ImageError, match="expected an image as a uint8"):
        open_pipeline(context)(np.zeros((10, 10, 4), np.uint8))


@pytest.mark.parametrize(("source", "target"), [(100, 100), (101, 64), (1920, 640), (719, 360), (50, 100), (3, 6)])
def test_spans_cover_the_picture(source: int, target: int) -> None:
    spans = canvas_spans(source, target, target < source)
    assert spans.dtype == SPAN and len(spans) == target
    inner = np.maximum(spans["last"] - spans["first"] - 1, 0) * spans["inner"]
    np.testing.assert_allclose(spans["head"] + inner + spans["tail"], 1, atol=2e-3)
    used = spans["first"][spans["head"] > 0], spans["last"][spans["tail"] > 0]
    assert all((part >= 0).all() and (part < source).all() for part in used)


def test_levels_halve_as_long_as_they_can() -> None:
    assert level_sizes(9, 5) == [(9, 5), (4, 2), (2, 1)]
    assert len(level_sizes(100_000, 100_000)) == 8


def test_buckets() -> None:
    assert [bucket_for(count) for count in (0, 1, 2, 3, 9, 32, 33, 900)] == [1, 1, 2, 4, 16, 32, 32, 32]


def test_a_network_that_lacks_a_promised_head_is_refused() -> None:
    spec = model_spec(NETWORK)
    with pytest.raises(SpecError, match="lacks the output age_std, gender, race"):
        ResultLayout.of((TensorInfo("age", np.dtype("float32"), (None,)),), spec)
    with pytest.raises(SpecError, match="only its batch to be free"):
        ResultLayout.of((TensorInfo("age", np.dtype("float32"), (None, None)),), spec)
    with pytest.raises(SpecError, match="lacks the output age, age_std, gender, race"):
        ResultLayout.of((), dataclasses.replace(spec, heads=()))


def test_a_head_that_nobody_promised_is_nan() -> None:
    spec = model_spec(NETWORK)
    layout = ResultLayout.of(
        (TensorInfo("age", np.dtype("float32"), (None,)),), dataclasses.replace(spec, heads=(spec.head("age"),))
    )
    block = np.zeros(layout.size, np.uint8)
    block[256:264].view(np.float32)[:] = 30, 40
    attributes = layout.read_attributes(block, 2)
    assert attributes.age.tolist() == [30, 40] and np.isnan(attributes.race).all()
