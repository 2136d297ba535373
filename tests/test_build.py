"""Building an engine for this processor: quantised, judged, published with a passport, or nothing at all."""

from __future__ import annotations

import fcntl
import json
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.artifact import cache_dir, model_spec, passport_path, sha256_file
from edgeface.build import Built, Order, build_engine
from edgeface.build_order import look_up
from edgeface.calibration import draw, write_set
from edgeface.datasets import find_faces
from edgeface.errors import ArtifactError, BackendError, ConfigError, EdgefaceError, ParityError, SinkError
from edgeface.passport import check_passport
from edgeface.recipe import Recipe
from edgeface.runtime.base import open_backend
from edgeface.spec import MODEL_KEY
from tests.calibration.people import add_person, pattern
from tests.fixtures import SIZE, tiny_spec

pytestmark = pytest.mark.usefixtures("patterns_as_faces")

pytest.importorskip("onnx", reason="the extra `quantize` is not installed")

BROKEN_LAYER = "on_pixels"


class Said:
    """A reporter that remembers."""

    def __init__(self, stop_at: str = "") -> None:
        self.notes: list[str] = []
        self._stop_at = stop_at

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, label: str) -> AbstractContextManager[Callable[[int, int | None], None]]:
        if self._stop_at and label.startswith(self._stop_at):
            raise KeyboardInterrupt
        return nullcontext(lambda done, total: None)


def write_model(path: Path) -> Path:
    """The age is the mean grey (a Conv on the pixels) plus one (a Conv on a plane of ones), through a last Conv."""
    import onnx

    node, init, value = onnx.helper.make_node, onnx.numpy_helper.from_array, onnx.helper.make_tensor_value_info
    nodes = [
        node("Cast", ["crops"], ["pixels"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node("Conv", ["planes", "thirds"], ["grey"], name=BROKEN_LAYER),
        node("Relu", ["grey"], ["light"]),
        node("Mul", ["planes", "nothing"], ["dark"]),
        node("Add", ["dark", "one"], ["ones"]),
        node("Conv", ["ones", "thirds"], ["offset"], name="on_ones"),
        node("Relu", ["offset"], ["plus"]),
        node("Add", ["light", "plus"], ["sum"]),
        node("Conv", ["sum", "unit"], ["same"], name="last"),
        node("ReduceMean", ["same"], ["level"], axes=[2, 3], keepdims=0),
        node("Neg", ["level"], ["less"]),
        node("Squeeze", ["level", "axis"], ["age"]),
        node("Mul", ["age", "one"], ["age_std"]),
        node("Concat", ["level", "less"], ["gender"], axis=1),
        node("Concat", ["level", "less", "less", "less", "less"], ["race"], axis=1),
    ]
    outputs = {"age": ["N"], "age_std": ["N"], "gender": ["N", 2], "race": ["N", 5]}
    constants = {
        "thirds": np.full((1, 3, 1, 1), 1 / 3, np.float32),
        "unit": np.ones((1, 1, 1, 1), np.float32),
        "nothing": np.float32(0),
        "one": np.float32(1),
        "axis": np.array([1], np.int64),
    }
    graph = onnx.helper.make_graph(
        nodes,
        "grey",
        [value("crops", onnx.TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [value(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [init(constant, name) for name, constant in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, {MODEL_KEY: tiny_spec().to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "grey.onnx")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """No clock: this network is too small to be faster in eight bits."""
    path = tmp_path / "gate.toml"
    path.write_text("latency = false\nage_mae_years = 0.5\n")
    return path


def people(folder: Path, darkness: int = 1) -> Path:
    """Very old people to judge on, and people to calibrate with whose pictures are ``darkness`` times darker."""
    for number in range(8):
        add_person(folder, (110, 0, 0), 3, number, (pattern(number) // darkness).astype(np.uint8))
    for fold in (1, 2):
        for number in range(6):
            add_person(folder, (110, 0, 0), fold, number)
    return folder


@pytest.fixture
def order(tmp_path: Path, model: Path, gate: Path) -> Callable[..., Order]:
    """An int8 order; ``darkness`` spoils its calibration."""

    def make(darkness: int = 1, **changes: Any) -> Order:
        data = people(tmp_path / f"people{darkness}", darkness)
        calibration = tmp_path / f"set{darkness}.toml"
        write_set(draw(find_faces([data]), 8, 1), calibration)
        recipe = Recipe(target="cpu", precision="int8", calibration=calibration, method="minmax")
        return Order(
            **{
                "model": model,
                "recipe": recipe,
                "out": tmp_path / "out" / "grey.int8.onnx",
                "data": (data,),
                "gate": gate,
                **changes,
            }
        )

    return make


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_float_model_is_its_own_engine(model: Path, tmp_path: Path) -> None:
    order = Order(model, Recipe(precision="fp32"), tmp_path / "out" / "grey.fp32.onnx")
    built = build_engine(order)
    assert built.fresh
    assert built.path.read_bytes() == model.read_bytes()
    assert built.passport.gate == {"verdict": "not judged", "why": "it is the float model itself"}
    assert built.passport.layers == {"Conv": {"fp32": 3}}
    assert built.passport.source == {"name": "grey.onnx", "sha256": sha256_file(model)}
    assert check_passport(built.path) == built.passport
    assert left_in(built.path.parent) == ["grey.fp32.onnx", "grey.fp32.onnx.passport.json"]


def test_the_same_inputs_build_nothing_again(model: Path, tmp_path: Path) -> None:
    order = Order(model, Recipe(precision="fp32"), tmp_path / "grey.fp32.onnx")
    first = build_engine(order)
    written = first.path.stat().st_mtime_ns, passport_path(first.path).stat().st_mtime_ns
    assert build_engine(order) == Built(first.path, first.passport, fresh=False)
    assert (first.path.stat().st_mtime_ns, passport_path(first.path).stat().st_mtime_ns) == written


def test_whatever_changes_is_built_again(model: Path, tmp_path: Path) -> None:
    import onnx

    order = Order(model, Recipe(precision="fp32"), tmp_path / "grey.fp32.onnx")
    keys = [build_engine(order).passport.key]
    other_recipe = Order(model, Recipe(precision="fp32", max_batch=4), order.out)
    keys.append(build_engine(other_recipe).passport.key)
    loaded = onnx.load(str(model))
    loaded.producer_name = "a"  # one byte
    onnx.save(loaded, str(model))
    keys.append(build_engine(other_recipe).passport.key)
    order.out.write_bytes(order.out.read_bytes() + b"\n")  # somebody touched the engine
    again = build_engine(other_recipe)
    assert again.fresh
    assert again.path.read_bytes() == model.read_bytes()
    assert len(set(keys)) == 3


def test_int8_passes_its_gate(order: Callable[..., Order]) -> None:
    wanted = order()
    built = build_engine(wanted)
    verdict = built.passport.gate
    assert (verdict["verdict"], verdict["fold"], verdict["faces"]) == ("passed", 1, 6)
    assert verdict["budget"]["latency"] is False
    assert built.passport.layers["Conv"] == {"int8": 2, "fp32": 1}
    assert built.passport.precision["precision"] == "int8"
    assert built.passport.calibration == {"name": "calibration", "digest": built.passport.precision["set_digest"]}
    spec = model_spec(built.path)
    assert spec.precision is not None and spec.precision.source_sha256 == sha256_file(wanted.model)
    assert not build_engine(wanted).fresh
    open_backend(built.path).close()


def test_the_environment_chooses_no_run_time_of_a_build(order: Callable[..., Order], absent_runtime: None) -> None:
    assert build_engine(order()).passport.gate["verdict"] == "passed"


def test_a_verdict_by_another_budget_does_not_count(order: Callable[..., Order], tmp_path: Path) -> None:
    build_engine(order())
    strict = tmp_path / "strict.toml"
    strict.write_text("latency = false\nage_mae_years = 0.4\n")
    assert build_engine(order(gate=strict)).fresh


def test_a_verdict_on_other_faces_does_not_count(order: Callable[..., Order], tmp_path: Path) -> None:
    wanted = order()
    built = build_engine(wanted)
    more = tmp_path / "more"
    name = add_person(more, (110, 0, 0), 1, 20)
    assert not build_engine(order()).fresh
    again = build_engine(order(data=(*wanted.data, more)))
    assert again.fresh
    assert (again.passport.key, again.passport.gate["faces"]) == (built.passport.key, 7), name


def test_a_searched_engine_is_none_without_search(order: Callable[..., Order]) -> None:
    assert build_engine(order(darkness=3)).fresh
    assert not build_engine(order(darkness=3)).fresh
    with pytest.raises(ParityError):
        build_engine(order(darkness=3, search=False))


def test_the_gate_says_where_it_saw_no_group(order: Callable[..., Order]) -> None:
    said = Said()
    assert build_engine(order(), said).passport.gate["groups_judged"] == 0
    assert said.notes == ["no group of fold 1 is large enough to be judged: the verdict is on all faces only"]


def test_a_spoilt_calibration_fails_the_gate_and_writes_nothing(order: Callable[..., Order]) -> None:
    wanted = order(darkness=3, search=False)
    with pytest.raises(ParityError) as missed:
        build_engine(wanted)
    sentence = str(missed.value)
    assert sentence.startswith(
        "`grey.int8.onnx` misses its budget, nothing was written: `grey.int8.onnx`: age error grows by "
    )
    assert "6 faces), allowed are 0.5" in sentence
    assert sentence.endswith("(--no-gate builds it all the same)")
    assert left_in(wanted.out.parent) == []


def test_a_missed_gate_leaves_the_older_engine(order: Callable[..., Order]) -> None:
    good = build_engine(order())
    with pytest.raises(ParityError):
        build_engine(order(darkness=3, search=False))
    assert check_passport(good.path) == good.passport


def test_without_the_gate_the_passport_says_so(order: Callable[..., Order]) -> None:
    unjudged = order(darkness=3, gate=False)
    assert build_engine(unjudged).passport.gate == {"verdict": "not judged", "why": "--no-gate"}
    assert not build_engine(unjudged).fresh
    with pytest.raises(ParityError):
        build_engine(order(darkness=3, search=False))  # an unjudged engine does not pass for a judged one


def test_the_search_keeps_the_spoilt_layer_in_float(order: Callable[..., Order]) -> None:
    said = Said()
    built = build_engine(order(darkness=3), said)
    assert built.passport.gate["verdict"] == "passed"
    assert built.passport.precision["keep_float"] == [BROKEN_LAYER]
    assert built.passport.layers["Conv"] == {"int8": 1, "fp32": 2}
    assert said.notes[0] == "int8 misses its budget: looking for the layers to keep in float"
    assert any(BROKEN_LAYER in note for note in said.notes[1:])
    spec = model_spec(built.path)
    assert spec.precision is not None and spec.precision.search["held"] is True


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
    order: Callable[..., Order], tmp_path: Path, changes: dict[str, Any], error: type[EdgefaceError], sentence: str
) -> None:
    places = {name: tmp_path / value for name, value in changes.items() if isinstance(value, str)}
    with pytest.raises(error) as refused:
        build_engine(order(**{**changes, **places}))
    assert str(refused.value) == sentence.format(**places)


def test_int8_needs_the_pictures_of_its_set(order: Callable[..., Order]) -> None:
    with pytest.raises(ConfigError, match="calibration and gate need labelled faces: name them with --data$"):
        build_engine(order(data=(), gate=False))


def test_a_quantised_model_is_refused(order: Callable[..., Order], tmp_path: Path) -> None:
    built = build_engine(order(gate=False))
    with pytest.raises(ArtifactError, match="is int8 for cpu-.* already; build from the float model it came from"):
        build_engine(order(model=built.path, out=tmp_path / "twice.onnx"))


def test_an_engine_for_another_processor_is_refused(order: Callable[..., Order]) -> None:
    here = look_up(order()).target
    other = "cpu-arm" if here == "cpu-x86" else "cpu-x86"
    with pytest.raises(ConfigError, match=f"target: an engine for {other} is built and judged on such a processor"):
        build_engine(order(recipe=Recipe(target=other, precision="fp32")))


def test_without_a_gpu_the_sentence_names_the_extra(model: Path, tmp_path: Path) -> None:
    from edgeface.runtime.cuda import find_gpu

    try:
        find_gpu()
    except BackendError:
        order = Order(model, Recipe(target="tensorrt", precision="fp16"), tmp_path / "grey.engine", gate=False)
        with pytest.raises(BackendError) as refused:
            build_engine(order)
        assert str(refused.value).startswith("no NVIDIA GPU here: ")
        assert "pip install 'edgeface[gpu]'" in str(refused.value) or "JetPack" in str(refused.value)
        assert str(refused.value).endswith("for this processor: --target cpu")
    else:
        pytest.skip("there is a GPU here")


@contextmanager
def locked(order: Order) -> Iterator[None]:
    """Another process builds the same engine."""
    place = cache_dir() / "locks" / f"{look_up(order).key[:32]}.lock"
    place.parent.mkdir(parents=True)
    with open(place, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_second_build_waits_or_says_so(model: Path, tmp_path: Path) -> None:
    order = Order(model, Recipe(precision="fp32"), tmp_path / "grey.fp32.onnx")
    said, done = Said(), threading.Event()
    built: list[Built] = []

    def build() -> None:
        built.append(build_engine(order, said))
        done.set()

    with locked(order):
        with pytest.raises(ConfigError, match="another process builds this engine already; leave --no-wait out"):
            build_engine(Order(order.model, order.recipe, order.out, wait=False))
        waiting = threading.Thread(target=build)
        waiting.start()
        assert not done.wait(0.3)
    waiting.join(30)
    assert built[0].fresh
    assert said.notes == ["another process builds this engine already, waiting for it"]


def test_ctrl_c_leaves_nothing(order: Callable[..., Order]) -> None:
    wanted = order()
    for moment in ("calibrating", "cutting crops"):
        with pytest.raises(KeyboardInterrupt):
            build_engine(wanted, Said(stop_at=moment))
        assert left_in(wanted.out.parent) == []


def test_a_full_disk_leaves_nothing(model: Path, tmp_path: Path) -> None:
    order = Order(model, Recipe(precision="fp32"), tmp_path / "out" / "grey.fp32.onnx")
    look_up(order)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(SinkError, match="cannot write"):
            build_engine(order)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_in(order.out.parent) == []


def test_the_passport_is_plain_json_with_the_command(order: Callable[..., Order]) -> None:
    wanted = order()
    built = build_engine(wanted)
    raw = json.loads(passport_path(built.path).read_text())
    assert raw["recipe"]["method"] == "minmax"
    assert raw["command"].startswith(
        f"edgeface build-engine {wanted.model} --target cpu --precision int8 --calibration "
    )
    assert raw["command"].endswith(f"--data {wanted.data[0]} --gate {wanted.gate} -o {wanted.out}")
