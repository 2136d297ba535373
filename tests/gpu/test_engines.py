"""Engines on a real GPU: they build in every precision, answer like ONNX Runtime, and are loaded with passport only.

Skipped, with the reason, where there is no GPU, TensorRT or PyCUDA. No data are needed, and of packages only the core's
ONNX Runtime, OpenCV and PyAV, onnx, pytest, TensorRT and PyCUDA.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from edgeface.build.build import BuildRequest, build_engine
from edgeface.calibration import draw, read_set, write_set
from edgeface.calibration.feeds import calibration_ranges
from edgeface.errors import ArtifactError, BackendError, EdgefaceError
from edgeface.evaluation.datasets import find_faces
from edgeface.inference.detector import shipped_model
from edgeface.quantization.quantize import quantize
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import model_spec, passport_path
from edgeface.spec.recipe import Recipe
from tests.calibration.people import add_crowd

pytestmark = pytest.mark.gpu

AGE_TOLERANCE_YEARS = {"fp32": 0.05, "fp16": 0.5, "int8": 0.5}
"""By which the mean over random crops may differ from the same graph in ONNX Runtime; the gate judges on faces."""


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    try:
        from edgeface.cuda.pycuda_context import Device, find_gpu

        find_gpu()
        import edgeface.runtime.trt  # noqa: F401

        Device().close()
    except EdgefaceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    size = model_spec(shipped_model("attributes.onnx")).input_size
    return np.random.default_rng(0).integers(0, 256, (11, size, size, 3), np.uint8)


def engine(folder: Path, precision: str, **changes: object) -> Path:
    recipe = dataclasses.replace(Recipe(target="tensorrt", precision=precision, max_batch=4), **changes)
    order = BuildRequest(shipped_model("attributes.onnx"), recipe, folder / f"{precision}.engine", gate=False)
    return build_engine(order).path


def check_answers(path: Path, graph: Path, crops: np.ndarray, precision: str) -> None:
    """The engine against the ``graph`` it was built from, by float simulation."""
    with open_backend(graph, simulate=True) as reference, open_backend(path) as candidate:
        wanted, found = reference.infer({"crops": crops}), candidate.infer({"crops": crops})
    assert set(found) == set(wanted)
    assert all(found[name].shape == wanted[name].shape for name in wanted)
    assert np.abs(found["age"] - wanted["age"]).mean() < AGE_TOLERANCE_YEARS[precision]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_engine_answers_like_its_model(tmp_path: Path, crops: np.ndarray, precision: str) -> None:
    path = engine(tmp_path, precision)
    model = shipped_model("attributes.onnx")
    check_answers(path, model, crops, precision)  # 11 crops: two whole batches of 4 and a part
    again = BuildRequest(shipped_model("attributes.onnx"), Recipe("tensorrt", precision, 4), path, gate=False)
    assert not build_engine(again).fresh


@pytest.mark.usefixtures("patterns_as_faces")
def test_an_int8_engine_answers_like_its_graph(
    tmp_path: Path, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path / "cache"))
    model, data, calibration = shipped_model("attributes.onnx"), add_crowd(tmp_path / "crowd"), tmp_path / "set.toml"
    write_set(draw(find_faces([data]), 12, 1), calibration)
    recipe = Recipe("tensorrt", "int8", 4, calibration, "minmax")
    built = build_engine(BuildRequest(model, recipe, tmp_path / "int8.engine", (data,), gate=False))
    ranges = calibration_ranges(model, read_set(calibration), find_faces([data]), "minmax")
    graph = quantize(model, tmp_path / "graph.onnx", "int8", "tensorrt", ranges)
    check_answers(built.path, graph, crops, "int8")
    assert any("int8" in kind.lower() for kind in built.passport.layers), "no layer became 8-bit"


def test_memory_of_closed_engines_is_given_back(tmp_path: Path, crops: np.ndarray) -> None:
    import pycuda.driver as driver

    from edgeface.cuda.pycuda_context import Device

    path, device, free = engine(tmp_path, "fp32"), Device(), []
    for _ in range(12):
        with open_backend(path) as backend:
            backend.infer({"crops": crops})
        backend.close()
        with device.active():
            free.append(driver.mem_get_info()[0])
    device.close()
    assert free[3] - free[-1] < 2 * 2**20


def test_a_detector_takes_pictures_of_many_sizes(tmp_path: Path) -> None:
    model = shipped_model("detector.onnx")
    recipe = Recipe(target="tensorrt", precision="fp32", max_batch=1)
    path = build_engine(BuildRequest(model, recipe, tmp_path / "detector.engine", gate=False)).path
    with open_backend(model) as reference, open_backend(path) as candidate:
        for height, width in ((640, 640), (384, 640), (64, 96)):
            image = np.random.default_rng(height).integers(0, 256, (1, height, width, 3), np.uint8)
            wanted, found = reference.infer({"image": image}), candidate.infer({"image": image})
            np.testing.assert_allclose(found["score"], wanted["score"], atol=0.01)
        with pytest.raises(BackendError, match="this engine takes"):
            candidate.infer({"image": np.zeros((1, 1280, 1280, 3), np.uint8)})


def test_an_engine_from_elsewhere_is_refused(tmp_path: Path) -> None:
    path = engine(tmp_path, "fp32")
    passport = passport_path(path)
    raw = json.loads(passport.read_text())
    passport.write_text(json.dumps({**raw, "machine": {**raw["machine"], "tensorrt": "7.1.3"}}))
    with pytest.raises(ArtifactError, match=r"tensorrt is 7\.1\.3 in its passport"):
        open_backend(path)


def test_a_stale_timing_cache_is_left_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path / "cache"))
    engine(tmp_path, "fp32")
    (cache,) = (tmp_path / "cache" / "timing").iterdir()
    cache.write_bytes(b"not a timing cache of this release")
    engine(tmp_path, "fp32", max_batch=2)
    assert len(cache.read_bytes()) > 100
