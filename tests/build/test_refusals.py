"""What cannot be built, and builds that fail: one sentence, and nothing left behind."""

from __future__ import annotations

import fcntl
import json
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeface.common.install import install_extra
from edgeface.build.build import Built, BuildRequest, build_engine
from edgeface.build.request import resolve
from edgeface.common.files import cache_dir
from edgeface.errors import ArtifactError, BackendError, ConfigError, EdgefaceError, SinkError
from edgeface.spec.metadata import passport_path
from edgeface.spec.recipe import Recipe
from tests.build.requests import Said, left_in

pytestmark = pytest.mark.usefixtures("patterns_as_faces")

pytest.importorskip("onnx", reason="the extra `quantize` is not installed")


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"out": "grey.engine"}, ConfigError, "`{out}`: an engine for cpu ends in .onnx, name it so"),
        ({"out": "grey.onnx"}, ConfigError, "writing `{out}` would overwrite the model, name another place"),
        ({"model": "none.onnx"}, ArtifactError, "cannot read model `{model}`: No such file or directory"),
        (
            {"recipe": Recipe()},
            ConfigError,
            "int8 needs a calibration set: name one with --calibration or in the recipe",
        ),
        (
            {"recipe": Recipe(precision="fp16"), "data": ()},
            ConfigError,
            "the gate needs labelled faces: name them with --data, or add --no-gate",
        ),
    ],
)
def test_bad_orders(
    order: Callable[..., BuildRequest], tmp_path: Path, changes: dict[str, Any], error: type[EdgefaceError], sentence: str
) -> None:
    places = {name: tmp_path / value for name, value in changes.items() if isinstance(value, str)}
    with pytest.raises(error) as refused:
        build_engine(order(**{**changes, **places}))
    assert str(refused.value) == sentence.format(**places)


def test_int8_needs_the_pictures_of_its_set(order: Callable[..., BuildRequest]) -> None:
    with pytest.raises(ConfigError, match="calibration and gate need labelled faces: name them with --data$"):
        build_engine(order(data=(), gate=False))


def test_a_quantised_model_is_refused(order: Callable[..., BuildRequest], tmp_path: Path) -> None:
    built = build_engine(order(gate=False))
    with pytest.raises(ArtifactError, match="is int8 for cpu-.* already; build from the float model it came from"):
        build_engine(order(model=built.path, out=tmp_path / "twice.onnx"))


def test_an_engine_for_another_processor_is_refused(order: Callable[..., BuildRequest]) -> None:
    here = resolve(order()).target
    other = "cpu-arm" if here == "cpu-x86" else "cpu-x86"
    with pytest.raises(ConfigError, match=f"target: an engine for {other} is built and judged on such a processor"):
        build_engine(order(recipe=Recipe(target=other, precision="fp32")))


def test_without_a_gpu_the_sentence_names_the_extra(model: Path, tmp_path: Path) -> None:
    from edgeface.cuda.pycuda_context import find_gpu

    try:
        find_gpu()
    except BackendError:
        order = BuildRequest(model, Recipe(target="tensorrt", precision="fp16"), tmp_path / "grey.engine", gate=False)
        with pytest.raises(BackendError) as refused:
            build_engine(order)
        assert str(refused.value).startswith("no NVIDIA GPU here: ")
        assert install_extra("gpu", "tensorrt") in str(refused.value) or "JetPack" in str(refused.value)
        assert str(refused.value).endswith("for this processor: --target cpu")
    else:
        pytest.skip("there is a GPU here")


@contextmanager
def locked(order: BuildRequest) -> Iterator[None]:
    """Another process builds the same engine."""
    place = cache_dir() / "locks" / f"{resolve(order).key[:32]}.lock"
    place.parent.mkdir(parents=True)
    with open(place, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_second_build_waits_or_says_so(model: Path, tmp_path: Path) -> None:
    order = BuildRequest(model, Recipe(precision="fp32"), tmp_path / "grey.fp32.onnx")
    said, done = Said(), threading.Event()
    built: list[Built] = []

    def build() -> None:
        built.append(build_engine(order, said))
        done.set()

    with locked(order):
        with pytest.raises(ConfigError, match="another process builds this engine already; leave --no-wait out"):
            build_engine(BuildRequest(order.model, order.recipe, order.out, wait=False))
        waiting = threading.Thread(target=build)
        waiting.start()
        assert not done.wait(0.3)
    waiting.join(30)
    assert built[0].fresh
    assert said.notes == ["another process builds this engine already, waiting for it"]


def test_ctrl_c_leaves_nothing(order: Callable[..., BuildRequest]) -> None:
    wanted = order()
    for moment in ("calibrating", "cutting crops"):
        with pytest.raises(KeyboardInterrupt):
            build_engine(wanted, Said(stop_at=moment))
        assert left_in(wanted.out.parent) == []


def test_a_full_disk_leaves_nothing(model: Path, tmp_path: Path) -> None:
    order = BuildRequest(model, Recipe(precision="fp32"), tmp_path / "out" / "grey.fp32.onnx")
    resolve(order)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(SinkError, match="cannot write"):
            build_engine(order)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_in(order.out.parent) == []


def test_the_passport_is_plain_json_with_the_command(order: Callable[..., BuildRequest]) -> None:
    wanted = order()
    built = build_engine(wanted)
    raw = json.loads(passport_path(built.path).read_text())
    assert raw["recipe"]["method"] == "minmax"
    assert raw["command"].startswith(
        f"edgeface build-engine {wanted.model} --target cpu --precision int8 --calibration "
    )
    assert raw["command"].endswith(f"--data {wanted.data[0]} --gate {wanted.gate} -o {wanted.out}")
