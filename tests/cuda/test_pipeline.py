"""The whole GPU pipeline on the emulated driver: real kernels, real networks, the CPU path's answers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeface.cuda.context import Context, PinnedBuffer
from edgeface.cuda.transfers import D2H, H2D, LAUNCH, NO_UPLOAD, ONE_COPY, WAIT, one_copy_each
from edgeface.gpu.device_frame import DeviceFrame
from edgeface.gpu.pipeline import GpuPipeline
from edgeface.imaging.image_io import read_image
from edgeface.spec.metadata import detector_spec, model_spec
from tests.cuda import emulated
from tests.cuda.pipelines import DETECTOR, NETWORK, PORTRAITS, assert_same, by_cpu, crowd, engine, open_pipeline


def test_answers_are_the_cpus_and_a_frame_costs_one_copy_each_way(context: Context, portrait: np.ndarray) -> None:
    pipeline, wanted = open_pipeline(context), by_cpu(portrait)
    assert len(wanted[0]) == 1
    for number in range(4):
        assert_same(pipeline(portrait), wanted)
        frame = context.ledger.frames[-1]
        ONE_COPY.check(frame)
        assert frame.bytes(H2D) == portrait.nbytes and frame.bytes(D2H) < 4096
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
            assert frame.pictures == 3 and frame.calls(H2D) == 3 and frame.calls(LAUNCH) == 1
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
