"""The choice of device, and the analyzer on the GPU's thread, on the emulated driver and without any."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from edgeface.api import FaceAnalyzer
from edgeface.cuda.device_thread import DeviceThread
from edgeface.cuda.driver import Driver
from edgeface.errors import BackendError, ConfigError, ImageError, MissingDependencyError
from edgeface.gpu.analyzer import GpuAnalyzer, GpuParts
from edgeface.gpu.pipeline import GpuPipeline
from edgeface.imaging.image_io import read_image
from edgeface.pipeline import device
from edgeface.pipeline.device import Request, open_analyzer
from edgeface.pipeline.runner import run
from edgeface.sources.open import open_source
from edgeface.spec.metadata import detector_spec, model_spec
from edgeface.tracking.iou import IouTracker
from tests.cuda import emulated
from tests.cuda.pipelines import DETECTOR, NETWORK, PORTRAITS, engine


class NoDriver(Driver):
    """This machine as if it had no driver."""

    def __init__(self) -> None:
        super().__init__("no-such-libcuda.so.1")

    @staticmethod
    def installed(library: str = "") -> bool:
        return Driver.installed("no-such-libcuda.so.1")


class EmulatedDriver(Driver):
    def __init__(self) -> None:
        super().__init__(str(emulated.library_path()))

    @staticmethod
    def installed(library: str = "") -> bool:
        return Driver.installed(str(emulated.library_path()))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "Driver", NoDriver)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "Driver", EmulatedDriver)


def emulated_parts() -> GpuParts:
    with ExitStack() as stack:
        context = stack.enter_context(emulated.context())
        networks = engine(DETECTOR), engine(NETWORK)
        specs = detector_spec(DETECTOR), model_spec(NETWORK)
        pipeline = GpuPipeline(context, emulated.IMAGE, networks[0], specs[0], networks[1], specs[1])
        stack.callback(pipeline.close)
        return GpuParts(pipeline, stack.pop_all(), "emulated GPU")


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0"])
def test_without_a_gpu_the_cpu_runs_and_one_line_says_why(no_gpu: None, wanted: str) -> None:
    lines: list[str] = []
    with open_analyzer(Request(wanted), lines.append) as analyzer:
        assert isinstance(analyzer, FaceAnalyzer)
        assert len(analyzer(PORTRAITS[0])) == 1
    (line,) = lines
    assert line.startswith("running on the CPU: no NVIDIA GPU with its driver here")


@pytest.mark.parametrize("request_", [Request("cpu", strict=True), Request()], ids=["cpu", "auto"])
def test_nothing_is_missing_where_nobody_asked_for_a_gpu(no_gpu: None, request_: Request) -> None:
    lines: list[str] = []
    open_analyzer(request_, lines.append).close()
    assert lines == []


def test_a_gpu_that_is_there_is_not_passed_over_silently(one_gpu: None) -> None:
    lines: list[str] = []
    open_analyzer(Request(), lines.append).close()
    assert len(lines) == 1 and lines[0].startswith("running on the CPU: no engines")


def test_strict_refuses_with_the_same_reason(no_gpu: None) -> None:
    with pytest.raises(BackendError, match="no NVIDIA GPU with its driver here"):
        open_analyzer(Request("cuda:0", strict=True), print)


def test_a_gpu_that_is_not_there_is_named(one_gpu: None) -> None:
    with pytest.raises(BackendError, match="no GPU 2 here: found 1"):
        open_analyzer(Request("cuda:2", strict=True), print)


def test_engines_that_are_missing_come_with_their_command(one_gpu: None) -> None:
    lines: list[str] = []
    open_analyzer(Request("cuda"), lines.append).close()
    (line,) = lines
    assert "no engines, and this ONNX Runtime has no CUDA provider: build with edgeface build-engine" in line
    assert "detector.onnx --target tensorrt and edgeface build-engine" in line
    with pytest.raises(BackendError, match=r"detector\.onnx` is no engine: build with edgeface build-engine"):
        open_analyzer(Request("cuda", strict=True, model=Path("net.engine")), print)


def test_onnx_runtime_is_the_second_choice(one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "gpu_provider", lambda: "cuda")
    monkeypatch.setattr(device, "onnx_parts", lambda *_: emulated_parts())
    lines: list[str] = []
    with open_analyzer(Request(), lines.append) as analyzer:
        assert isinstance(analyzer, GpuAnalyzer) and len(analyzer(PORTRAITS[0])) == 1
    assert lines == [] and emulated.alive() == 0


def test_without_nvcc_one_line_says_what_runs_where(one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_nvcc(*_: object) -> GpuParts:
        raise MissingDependencyError("nvcc is not installed")

    monkeypatch.setattr(device, "gpu_provider", lambda: "cuda")
    monkeypatch.setattr(device, "onnx_parts", no_nvcc)
    with pytest.raises(MissingDependencyError, match="nvcc"):
        open_analyzer(Request("cuda", strict=True), print)
    lines: list[str] = []
    open_analyzer(Request("cuda"), lines.append).close()
    assert lines[0] == "only the networks run on the GPU, with copies between them: nvcc is not installed"
    assert lines[1].startswith("running on the CPU: ONNX Runtime could not open the models on the GPU: build with")


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:x", ""])
def test_an_unknown_device_is_refused(wanted: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda or cuda:N"):
        Request(wanted)


def test_strict_needs_something_to_insist_on() -> None:
    with pytest.raises(ConfigError, match="--strict-device needs a device"):
        Request(strict=True)


def test_the_gpus_analyzer_answers_as_the_cpus() -> None:
    with GpuAnalyzer(emulated_parts) as analyzer, FaceAnalyzer(threads=1) as reference:
        for path in PORTRAITS:
            (found,), (wanted,) = analyzer(path), reference(path)
            np.testing.assert_allclose(found.box, wanted.box, atol=0.5)
            assert (found.gender, found.race) == (wanted.gender, wanted.race)
            assert found.age == pytest.approx(wanted.age, abs=0.5)
    assert emulated.alive() == 0


def test_a_run_on_the_gpu(tmp_path: Path) -> None:
    with GpuAnalyzer(emulated_parts) as analyzer, open_source(str(PORTRAITS[0].parent)) as source:
        summary = run(source, analyzer, IouTracker)
        assert (summary.frames, summary.faces) == (len(PORTRAITS), len(PORTRAITS))
        assert analyzer.ledger.count == len(PORTRAITS)
    assert emulated.alive() == 0


def test_an_observation_holds_the_attributes_of_its_own_faces() -> None:
    """Two images in one call, and another before their attributes are asked for: nothing is mixed up."""
    images = [read_image(path) for path in PORTRAITS[:2]]
    with GpuAnalyzer(emulated_parts) as analyzer:
        wanted = [analyzer.analyze(image)[1].age.tolist() for image in images]
        seen = analyzer.observe(images)
        analyzer.observe(images[:1])
        found = [one.attributes(np.full(len(one.faces), True)).age.tolist() for one in seen]
        assert found == [pytest.approx(ages, abs=0.2) for ages in wanted] and all(one.complete for one in seen)
        assert len(seen[0].attributes(np.zeros(len(seen[0].faces), bool))) == 0


def test_errors_come_back_to_the_caller_and_the_gpu_goes_on() -> None:
    with GpuAnalyzer(emulated_parts) as analyzer:
        with pytest.raises(ImageError):
            analyzer(np.zeros(3, np.uint8))
        assert len(analyzer(PORTRAITS[0])) == 1
    with pytest.raises(BackendError, match="closed"):
        analyzer(PORTRAITS[0])
    analyzer.close()


def test_what_fails_while_opening_leaves_nothing() -> None:
    def fail() -> GpuParts:
        parts = emulated_parts()
        parts.resources.close()
        raise BackendError("no room")

    with pytest.raises(BackendError, match="no room"):
        GpuAnalyzer(fail)
    assert emulated.alive() == 0


def test_an_owner_works_in_turn_on_one_thread_and_makes_others_wait() -> None:
    freed: list[int] = []
    owner = DeviceThread(lambda: 3, freed.append, "worker", depth=1)
    gate = threading.Event()
    futures = [owner.submit(lambda value: gate.wait() and threading.get_ident())]
    producer = threading.Thread(
        target=lambda: futures.extend(owner.submit(lambda value, n=n: value * n) for n in range(5))
    )
    producer.start()
    producer.join(0.2)
    assert producer.is_alive(), "the queue is bounded"
    gate.set()
    producer.join()
    assert [future.result() for future in futures[1:]] == [0, 3, 6, 9, 12]
    assert futures[0].result() != threading.get_ident()
    owner.close()
    assert freed == [3]
