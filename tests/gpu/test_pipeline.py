"""The kernels and the whole pipeline on a real GPU: the CPU path's answers, one copy each way, flat memory.

Skipped, with the reason, where there is no GPU, TensorRT or nvcc (for the kernels' first compile).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.api import FaceAnalyzer
from edgeface.bench.gpu_speed import gpu_cost
from edgeface.build.build import BuildRequest, build_engine
from edgeface.cuda.compile import compiled
from edgeface.cuda.context import Context, DeviceBuffer, Kernels, PinnedBuffer
from edgeface.cuda.stream import Stream
from edgeface.cuda.structs import ARGUMENTS
from edgeface.cuda.transfers import LAUNCH, NO_UPLOAD, ONE_COPY, one_copy_each
from edgeface.errors import BackendError, EdgefaceError
from edgeface.gpu.analyzer import GpuAnalyzer, engine_parts
from edgeface.gpu.device_frame import DeviceFrame, device_frame
from edgeface.gpu.pipeline import STAGES, GpuPipeline
from edgeface.gpu.stages import Launcher, yuv_matrix
from edgeface.imaging.portraits import demo_frames, portraits
from edgeface.inference.detector import shipped_model
from edgeface.spec.metadata import detector_spec, model_spec
from edgeface.spec.recipe import Recipe
from edgeface.types import Attributes, Faces

pytestmark = pytest.mark.gpu

BOX_PX, AGE_YEARS = 1.0, 0.5
FRAMES = 10_000
DETECTORS_BATCH = 4
Answer = tuple[Faces, Attributes]


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    try:
        with Context() as context:
            compiled(context.capability)
        import edgeface.runtime.trt  # noqa: F401
    except EdgefaceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def engines(gpu: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("engines")
    paths = []
    for name, batch in (("detector", DETECTORS_BATCH), ("attributes", 32)):
        recipe = Recipe(target="tensorrt", precision="fp32", max_batch=batch)
        order = BuildRequest(shipped_model(f"{name}.onnx"), recipe, folder / f"{name}.engine", gate=False)
        paths.append(build_engine(order).path)
    return paths[0], paths[1]


@pytest.fixture
def context() -> Iterator[Context]:
    with Context() as made:
        yield made


@pytest.fixture
def pipeline(context: Context, engines: tuple[Path, Path]) -> Iterator[GpuPipeline]:
    made = open_pipeline(context, engines)
    yield made
    made.close()


def open_pipeline(context: Context, engines: tuple[Path, Path]) -> GpuPipeline:
    from edgeface.runtime.trt_device import TrtDeviceEngine

    detector, attributes = engines
    networks = TrtDeviceEngine(detector), TrtDeviceEngine(attributes)  # the pipeline's bindings keep them alive
    specs = detector_spec(detector), model_spec(attributes)
    return GpuPipeline(context, compiled(context.capability), networks[0], specs[0], networks[1], specs[1])


@pytest.fixture(scope="module")
def reference() -> Iterator[FaceAnalyzer]:
    with FaceAnalyzer() as analyzer:
        yield analyzer


def by_cpu(reference: FaceAnalyzer, image: np.ndarray) -> Answer:
    faces = reference.detector(image)
    return faces, reference.attributes(image, faces)


def assert_same(found: Answer, wanted: Answer) -> None:
    assert len(found[0]) == len(wanted[0])
    np.testing.assert_allclose(found[0].boxes, wanted[0].boxes, atol=BOX_PX)
    np.testing.assert_allclose(found[1].age, wanted[1].age, atol=AGE_YEARS)
    np.testing.assert_array_equal(found[1].gender.argmax(axis=1), wanted[1].gender.argmax(axis=1))


def pictures() -> list[np.ndarray]:
    """Portraits, a crowd for several rounds, odd sizes, and no one."""
    every = [np.ascontiguousarray(image) for image in portraits().values()]
    crowd = np.tile(every[0][::5, ::5], (5, 8, 1))
    return [*every, crowd, np.ascontiguousarray(every[1][3:-4, 1:-2]), np.full((90, 121, 3), 127, np.uint8)]


def test_answers_are_the_cpus(pipeline: GpuPipeline, reference: FaceAnalyzer) -> None:
    for image in pictures():
        wanted = by_cpu(reference, image)
        for _ in range(3):
            assert_same(pipeline(image), wanted)


def test_a_frame_costs_one_copy_each_way_one_launch_and_one_wait(
    context: Context, pipeline: GpuPipeline, reference: FaceAnalyzer
) -> None:
    for frame in demo_frames(seconds=1, size=(1280, 720)):
        assert_same(pipeline(frame.pixels), by_cpu(reference, frame.pixels))
    for frame in list(context.ledger.frames)[-10:]:
        if not context.shares_memory:
            ONE_COPY.check(frame)
        assert frame.calls(LAUNCH) == 1


def test_pinned_slots_and_mapped_frames(context: Context, pipeline: GpuPipeline, reference: FaceAnalyzer) -> None:
    image = pictures()[0]
    height, width = image.shape[:2]
    wanted = by_cpu(reference, image)
    for _ in range(5):
        slot = pipeline.slot(width, height)
        slot[...] = image
        assert_same(pipeline(slot), wanted)
    mapped = PinnedBuffer(context, image.nbytes, mapped=True)
    mapped.array[:] = image.ravel()
    for _ in range(3):
        assert_same(pipeline(DeviceFrame(mapped.address, width, height, 3 * width)), wanted)
        NO_UPLOAD.check(context.ledger.frames[-1])


@pytest.mark.parametrize("package", ["torch", "cupy"])
def test_frames_of_other_libraries_are_read_where_they_lie(
    context: Context, pipeline: GpuPipeline, reference: FaceAnalyzer, package: str
) -> None:
    library: Any = pytest.importorskip(package)
    image = pictures()[0]
    if package == "torch":
        if not library.cuda.is_available():
            pytest.skip("this torch has no CUDA")
        tensor = library.from_numpy(image).cuda()
        library.cuda.synchronize()
    else:
        tensor = library.asarray(image)
        library.cuda.Device().synchronize()
    for _ in range(3):
        assert_same(pipeline(device_frame(tensor)), by_cpu(reference, image))
        NO_UPLOAD.check(context.ledger.frames[-1])


def test_colours_are_the_same_on_the_gpu(context: Context) -> None:
    import cv2

    image = pictures()[0]
    height, width = image.shape[:2]
    stream = Stream(context)
    launch = Launcher(Kernels(context, compiled(context.capability), tuple(ARGUMENTS)), stream)
    source, out = (PinnedBuffer(context, image.nbytes, mapped=True) for _ in range(2))
    source.array[:] = image[..., ::-1].ravel()
    shape = (width, height, 3 * width)
    launch("rgb_from_bgr", (width, height, 1), (32, 8, 1), bgr=(source.address, *shape), rgb=(out.address, *shape))
    stream.synchronize()
    np.testing.assert_array_equal(out.array.reshape(image.shape), image)
    assert cv2.cvtColor(image, cv2.COLOR_RGB2BGR).tobytes() == source.array.tobytes()


def test_memory_is_flat_over_many_frames(context: Context, pipeline: GpuPipeline) -> None:
    image = np.ascontiguousarray(pictures()[0][::4, ::4])
    for _ in range(100):
        pipeline(image)
    free, resident = context.free_bytes(), resident_mb()
    for _ in range(FRAMES):
        pipeline(image)
    assert context.free_bytes() == free
    assert resident_mb() - resident < 20


def resident_mb() -> float:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def test_two_pipelines_in_one_process(engines: tuple[Path, Path], reference: FaceAnalyzer) -> None:
    path = Path(__file__).parents[2] / "edgeface" / "assets" / "photos" / "grace-hopper.jpg"
    (wanted,) = reference(path)
    with GpuAnalyzer(lambda: engine_parts(*engines)) as first, GpuAnalyzer(lambda: engine_parts(*engines)) as second:
        for analyzer in (first, second, first, second):
            (found,) = analyzer(path)
            assert found.age == pytest.approx(wanted.age, abs=AGE_YEARS)
            np.testing.assert_allclose(found.box, wanted.box, atol=BOX_PX)


def test_everything_is_released_after_an_exception(engines: tuple[Path, Path]) -> None:
    with Context() as watch:
        before = 0
        for number in range(4):
            if number == 1:  # the first one loads what the driver and TensorRT keep
                before = watch.free_bytes()
            with pytest.raises(ZeroDivisionError), GpuAnalyzer(lambda: engine_parts(*engines)) as analyzer:
                analyzer(pictures()[0])
                raise ZeroDivisionError
        gc.collect()
        assert before - watch.free_bytes() < 64 << 20, "more than what the driver keeps for a module"


def test_a_full_gpu_is_one_sentence_and_the_pipeline_goes_on(
    context: Context, pipeline: GpuPipeline, reference: FaceAnalyzer
) -> None:
    with pytest.raises(BackendError, match="CUDA_ERROR_OUT_OF_MEMORY: the GPU's memory is full"):
        DeviceBuffer(context, 1 << 46)
    assert_same(pipeline(pictures()[0]), by_cpu(reference, pictures()[0]))


def test_everything_is_captured(context: Context, pipeline: GpuPipeline) -> None:
    for _ in range(3):
        pipeline(pictures()[0])
    assert pipeline.captures and context.ledger.frames[-1].calls(LAUNCH) == 1


def test_streams_are_answered_together(context: Context, pipeline: GpuPipeline, reference: FaceAnalyzer) -> None:
    streams = [np.ascontiguousarray(image) for image in (*portraits().values(), *portraits().values())]
    assert pipeline.together == DETECTORS_BATCH
    wanted = [by_cpu(reference, image) for image in streams]
    for _ in range(4):
        for found, expected in zip(pipeline.answer(streams), wanted, strict=True):
            assert_same(found, expected)
    shapes = {image.shape for image in streams}
    budget = one_copy_each(len(streams))
    if not context.shares_memory and len(shapes) == 1:
        budget.check(context.ledger.frames[-1])


def test_a_stream_of_another_library_is_waited_for(
    context: Context, pipeline: GpuPipeline, reference: FaceAnalyzer
) -> None:
    image = pictures()[0]
    height, width = image.shape[:2]
    wanted, producer = by_cpu(reference, image), Stream(context)
    source, made = PinnedBuffer(context, image.nbytes), DeviceBuffer(context, image.nbytes)
    source.array[:] = image.ravel()
    for _ in range(20):
        producer.clear(made.address, image.nbytes // 4)
        producer.upload(made.address, source, image.nbytes)
        assert_same(pipeline(DeviceFrame(made.address, width, height, 3 * width, stream=producer.handle)), wanted)


def test_stages_and_floor_are_timed_by_events(pipeline: GpuPipeline) -> None:
    cost = gpu_cost(pipeline, pictures()[0], seconds=0.2)
    assert list(cost.stages_ms) == list(STAGES) and min(cost.stages_ms.values()) > 0
    assert cost.floor > 0 and cost.bare_ms > 0 and cost.upload_gb_s > 1


def test_nv12_is_the_processors_rgb(context: Context) -> None:
    import cv2

    image = np.ascontiguousarray(pictures()[0][:256, :256])
    planar = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
    launch = Launcher(Kernels(context, compiled(context.capability), tuple(ARGUMENTS)), Stream(context))
    source, out = PinnedBuffer(context, planar.nbytes, mapped=True), PinnedBuffer(context, image.nbytes, mapped=True)
    source.array[:] = np.concatenate([planar[:256].ravel(), planar[256:].reshape(2, -1).T.ravel()])
    planes = (source.address, source.address + 256 * 256, 256, 256, 256, 256)
    matrix = yuv_matrix(0.299, 0.114, False)
    rgb = (out.address, 256, 256, 768)
    launch("rgb_from_nv12", (256, 256, 1), (32, 8, 1), picture=planes, matrix=matrix, rgb=rgb)
    launch.stream.synchronize()
    wanted = cv2.cvtColor(planar, cv2.COLOR_YUV2RGB_I420)
    assert np.abs(out.array.reshape(image.shape).astype(int) - wanted).max() <= 2
