"""The whole GPU pipeline on the emulated driver: real kernels, real networks, the CPU path's answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeface.artifact import detector_spec, model_spec
from edgeface.cuda import SPAN, canvas_spans, level_sizes
from edgeface.errors import BackendError, ConfigError, ImageError, SpecError
from edgeface.images import read_image
from edgeface.pipeline.attributes import AttributeEstimator
from edgeface.pipeline.detect import FaceDetector, shipped_model
from edgeface.pipeline.gpu import GpuPipeline
from edgeface.pipeline.gpu_frames import DeviceFrame
from edgeface.pipeline.gpu_layout import ResultLayout, bucket_for
from edgeface.runtime.base import TensorInfo, open_backend
from edgeface.runtime.cuda_context import Context, DeviceBuffer, PinnedBuffer
from edgeface.runtime.cuda_stream import Stream
from edgeface.runtime.ledger import DOWN, LAUNCH, NO_UPLOAD, ONE_COPY, UP, WAIT, one_copy_each
from edgeface.types import Attributes, Faces
from tests.conftest import ROOT
from tests.cuda import emulated

DETECTOR, NETWORK = shipped_model("detector.onnx"), shipped_model("attributes.onnx")
PORTRAITS = sorted((ROOT / "edgeface" / "assets" / "photos").glob("*.jpg"))


def engine(path: Path, batches: tuple[int, int] = (1, 64)) -> emulated.EmulatedEngine:
    return emulated.EmulatedEngine(open_backend(path, 1), batches)


def open_pipeline(context: Context, **settings: object) -> GpuPipeline:
    spec = model_spec(NETWORK)
    parts = (engine(DETECTOR), detector_spec(DETECTOR), engine(NETWORK), spec)
    return GpuPipeline(context, emulated.IMAGE, *parts, **settings)


@pytest.fixture
def context() -> Iterator[Context]:
    with emulated.context() as made:
        yield made
    assert emulated.alive() == 0, "something was not freed"


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.ascontiguousarray(read_image(PORTRAITS[0])[::2, ::2])


def crowd(portrait: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """The portrait again and again, small."""
    return np.tile(portrait[::3, ::3], (rows, columns, 1))


def by_cpu(image: np.ndarray, **settings: float) -> tuple[Faces, Attributes]:
    with FaceDetector(threads=1, **settings) as detector, AttributeEstimator(threads=1) as estimator:
        faces = detector(image)
        return faces, estimator(image, faces)


def assert_same(found: tuple[Faces, Attributes], wanted: tuple[Faces, Attributes]) -> None:
    assert len(found[0]) == len(wanted[0]) == len(found[1])
    np.testing.assert_allclose(found[0].boxes, wanted[0].boxes, atol=0.5)
    np.testing.assert_allclose(found[0].scores, wanted[0].scores, atol=0.01)
    np.testing.assert_allclose(found[0].landmarks, wanted[0].landmarks, atol=0.5)
    np.testing.assert_allclose(found[1].age, wanted[1].age, atol=0.5)
    np.testing.assert_allclose(found[1].race, wanted[1].race, atol=0.03)


def test_answers_are_the_cpus_and_a_frame_costs_one_copy_each_way(context: Context, portrait: np.ndarray) -> None:
    pipeline, wanted = open_pipeline(context), by_cpu(portrait)
    assert len(wanted[0]) == 1
    for number in range(4):
        assert_same(pipeline(portrait), wanted)
        frame = context.ledger.frames[-1]
        ONE_COPY.check(frame)
        assert frame.bytes(UP) == portrait.nbytes and frame.bytes(DOWN) < 4096
        assert frame.calls(LAUNCH) == (number > 0), "captured at the second frame"


def test_sizes_change_from_picture_to_picture(context: Context, portrait: np.ndarray) -> None:
    pipeline = open_pipeline(context)
    for image in (portrait, portrait[:-33, 7:], portrait[::2, ::2], portrait, read_image(PORTRAITS[1])[:201]):
        assert_same(pipeline(np.ascontiguousarray(image)), by_cpu(image))


def test_a_crowd_beyond_the_bucket_is_answered_in_rounds(context: Context, portrait: np.ndarray) -> None:
    image = crowd(portrait, 7, 6)
    wanted = by_cpu(image, score_threshold=0.3)
    assert len(wanted[0]) > 33, "a case for three rounds"
    pipeline = open_pipeline(context, score_threshold=0.3)
    assert_same(pipeline(image), wanted)
    assert context.ledger.frames[-1].calls(WAIT) > 1
    assert_same(pipeline(image), wanted)
    assert_same(pipeline(image), wanted)
    assert context.ledger.frames[-1].calls(WAIT) == context.ledger.frames[-1].calls(LAUNCH) == 2


def test_the_last_frames_predict_the_bucket(context: Context, portrait: np.ndarray) -> None:
    image = np.tile(portrait, (1, 3, 1))
    pipeline = open_pipeline(context)
    wanted = by_cpu(image)
    assert 1 < len(wanted[0]) < 5
    for waits in (2, 1, 1):
        assert_same(pipeline(image), wanted)
        assert context.ledger.frames[-1].calls(WAIT) == waits


def test_no_face_is_no_row(context: Context) -> None:
    pipeline = open_pipeline(context)
    for _ in range(2):
        faces, attributes = pipeline(np.full((90, 120, 3), 128, np.uint8))
        assert len(faces) == len(attributes) == 0


def test_a_decoder_may_write_into_the_ring(context: Context, portrait: np.ndarray) -> None:
    pipeline, wanted = open_pipeline(context), by_cpu(portrait)
    slots = set()
    for _ in range(4):
        slot = pipeline.slot(portrait.shape[1], portrait.shape[0])
        slots.add(slot.ctypes.data)
        slot[...] = portrait
        assert_same(pipeline(slot), wanted)
    assert len(slots) == 3


def test_a_frame_on_the_gpu_is_read_where_it_lies(context: Context, portrait: np.ndarray) -> None:
    height, width = portrait.shape[:2]
    padded = 3 * width + 64
    pinned = PinnedBuffer(context, padded * height, mapped=True)
    pinned.array.reshape(height, padded)[:, : 3 * width] = portrait.reshape(height, -1)
    pipeline = open_pipeline(context)
    for layout, pixels in (("rgb", portrait), ("bgr", portrait[..., ::-1])):
        pinned.array.reshape(height, padded)[:, : 3 * width] = pixels.reshape(height, -1)
        for _ in range(2):
            assert_same(pipeline(DeviceFrame(pinned.address, width, height, padded, layout)), by_cpu(portrait))
            NO_UPLOAD.check(context.ledger.frames[-1])


def test_a_decoders_nv12_surface_is_read_where_it_lies(context: Context, portrait: np.ndarray) -> None:
    import cv2

    height, width = portrait.shape[:2]
    planar = cv2.cvtColor(portrait, cv2.COLOR_RGB2YUV_I420)
    chroma = planar[height:].reshape(2, -1)
    pinned = PinnedBuffer(context, planar.nbytes, mapped=True)
    pinned.array[:] = np.concatenate([planar[:height].ravel(), chroma.T.ravel()])
    surface = DeviceFrame(pinned.address, width, height, width, "nv12")
    pipeline = open_pipeline(context)
    wanted = by_cpu(cv2.cvtColor(planar, cv2.COLOR_YUV2RGB_I420))
    for _ in range(3):
        found = pipeline(surface)
        np.testing.assert_allclose(found[0].boxes, wanted[0].boxes, atol=1)
        np.testing.assert_allclose(found[1].age, wanted[1].age, atol=1)
        NO_UPLOAD.check(context.ledger.frames[-1])


def test_shared_memory_needs_no_upload(context: Context, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "shares_memory", True)
    pipeline, wanted = open_pipeline(context), by_cpu(portrait)
    for _ in range(5):
        assert_same(pipeline(portrait), wanted)
        NO_UPLOAD.check(context.ledger.frames[-1])


def test_memory_stays_flat(context: Context, portrait: np.ndarray) -> None:
    pipeline, small = open_pipeline(context), np.ascontiguousarray(portrait[::4, ::4])
    for _ in range(3):
        pipeline(small)
    alive, free = emulated.alive(), context.free_bytes()
    for _ in range(50):
        pipeline(small)
    assert (emulated.alive(), context.free_bytes()) == (alive, free)


def test_frames_of_several_streams_are_answered_together(context: Context, portrait: np.ndarray) -> None:
    flipped = np.ascontiguousarray(portrait[:, ::-1])
    streams = [np.tile(portrait, (1, 2, 1)), np.full((256, 512, 3), 128, np.uint8), np.hstack([flipped, portrait])]
    wanted = [by_cpu(image) for image in streams]
    assert [len(faces) for faces, _ in wanted] == [2, 0, 2]
    pipeline = open_pipeline(context)
    for number in range(4):
        for found, expected in zip(pipeline.answer(streams), wanted, strict=True):
            assert_same(found, expected)
        frame = context.ledger.frames[-1]
        if number > 1:
            one_copy_each(3).check(frame)
            assert frame.pictures == 3 and frame.calls(UP) == 3 and frame.calls(LAUNCH) == 1
    for found, expected in zip(pipeline.answer(streams[::-1]), wanted[::-1], strict=True):
        assert_same(found, expected)


def test_streams_of_different_shapes_and_crowds(context: Context, portrait: np.ndarray) -> None:
    streams = [portrait, crowd(portrait, 7, 6), portrait[::2, ::2].copy(), np.tile(portrait, (1, 2, 1)), portrait]
    pipeline = open_pipeline(context, score_threshold=0.3)
    wanted = [by_cpu(image, score_threshold=0.3) for image in streams]
    for _ in range(3):
        for found, expected in zip(pipeline.answer(streams), wanted, strict=True):
            assert_same(found, expected)


def test_no_more_go_together_than_the_detector_takes(context: Context, portrait: np.ndarray) -> None:
    detector = engine(DETECTOR, (1, 2))
    specs = detector_spec(DETECTOR), model_spec(NETWORK)
    pipeline = GpuPipeline(context, emulated.IMAGE, detector, specs[0], engine(NETWORK), specs[1])
    assert pipeline.together == 2
    assert len(pipeline.answer([portrait] * 5)) == 5
    assert [frame.pictures for frame in context.ledger.frames] == [2, 2, 1]
    assert pipeline.answer([]) == []


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
    with pytest.raises(ImageError, match="expected a picture as a uint8"):
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
