"""Building an engine for this processor: quantised, judged, published with a passport, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeface.build.build import Built, BuildRequest, build_engine
from edgeface.common.files import sha256_file
from edgeface.errors import ParityError
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import model_spec, passport_path
from edgeface.spec.passport import check_passport
from edgeface.spec.recipe import Recipe
from tests.build.requests import BROKEN_LAYER, Said, left_in
from tests.calibration.people import add_person

pytestmark = pytest.mark.usefixtures("patterns_as_faces")

pytest.importorskip("onnx", reason="the extra `quantize` is not installed")


def test_a_float_model_is_its_own_engine(model: Path, tmp_path: Path) -> None:
    order = BuildRequest(model, Recipe(precision="fp32"), tmp_path / "out" / "grey.fp32.onnx")
    built = build_engine(order)
    assert built.fresh
    assert built.path.read_bytes() == model.read_bytes()
    assert built.passport.gate == {"verdict": "not judged", "why": "it is the float model itself"}
    assert built.passport.layers == {"Conv": {"fp32": 3}}
    assert built.passport.source == {"name": "grey.onnx", "sha256": sha256_file(model)}
    assert check_passport(built.path) == built.passport
    assert left_in(built.path.parent) == ["grey.fp32.onnx", "grey.fp32.onnx.passport.json"]


def test_the_same_inputs_build_nothing_again(model: Path, tmp_path: Path) -> None:
    order = BuildRequest(model, Recipe(precision="fp32"), tmp_path / "grey.fp32.onnx")
    first = build_engine(order)
    written = first.path.stat().st_mtime_ns, passport_path(first.path).stat().st_mtime_ns
    assert build_engine(order) == Built(first.path, first.passport, fresh=False)
    assert (first.path.stat().st_mtime_ns, passport_path(first.path).stat().st_mtime_ns) == written


def test_whatever_changes_is_built_again(model: Path, tmp_path: Path) -> None:
    import onnx

    order = BuildRequest(model, Recipe(precision="fp32"), tmp_path / "grey.fp32.onnx")
    keys = [build_engine(order).passport.key]
    other_recipe = BuildRequest(model, Recipe(precision="fp32", max_batch=4), order.out)
    keys.append(build_engine(other_recipe).passport.key)
    loaded = onnx.load(str(model))
    loaded.producer_name = "a"  # one byte
    onnx.save(loaded, str(model))
    keys.append(build_engine(other_recipe).passport.key)
    order.out.write_bytes(order.out.read_bytes() + b"\n")  # someone touched the engine
    again = build_engine(other_recipe)
    assert again.fresh
    assert again.path.read_bytes() == model.read_bytes()
    assert len(set(keys)) == 3


def test_int8_passes_its_gate(order: Callable[..., BuildRequest]) -> None:
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


def test_the_environment_chooses_no_run_time_of_a_build(order: Callable[..., BuildRequest], absent_runtime: None) -> None:
    assert build_engine(order()).passport.gate["verdict"] == "passed"


def test_a_verdict_by_another_budget_does_not_count(order: Callable[..., BuildRequest], tmp_path: Path) -> None:
    build_engine(order())
    strict = tmp_path / "strict.toml"
    strict.write_text("latency = false\nage_mae_years = 0.4\n")
    assert build_engine(order(gate=strict)).fresh


def test_a_verdict_on_other_faces_does_not_count(order: Callable[..., BuildRequest], tmp_path: Path) -> None:
    wanted = order()
    built = build_engine(wanted)
    more = tmp_path / "more"
    name = add_person(more, (110, 0, 0), 1, 20)
    assert not build_engine(order()).fresh
    again = build_engine(order(data=(*wanted.data, more)))
    assert again.fresh
    assert (again.passport.key, again.passport.gate["faces"]) == (built.passport.key, 7), name


def test_a_searched_engine_is_none_without_search(order: Callable[..., BuildRequest]) -> None:
    assert build_engine(order(darkness=3)).fresh
    assert not build_engine(order(darkness=3)).fresh
    with pytest.raises(ParityError):
        build_engine(order(darkness=3, search=False))


def test_the_gate_says_where_it_saw_no_group(order: Callable[..., BuildRequest]) -> None:
    said = Said()
    assert build_engine(order(), said).passport.gate["groups_judged"] == 0
    assert said.notes == ["no group of fold 1 is large enough to be judged: the verdict is on all faces only"]


def test_a_spoilt_calibration_fails_the_gate_and_writes_nothing(order: Callable[..., BuildRequest]) -> None:
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


def test_a_missed_gate_leaves_the_older_engine(order: Callable[..., BuildRequest]) -> None:
    good = build_engine(order())
    with pytest.raises(ParityError):
        build_engine(order(darkness=3, search=False))
    assert check_passport(good.path) == good.passport


def test_without_the_gate_the_passport_says_so(order: Callable[..., BuildRequest]) -> None:
    unjudged = order(darkness=3, gate=False)
    assert build_engine(unjudged).passport.gate == {"verdict": "not judged", "why": "--no-gate"}
    assert not build_engine(unjudged).fresh
    with pytest.raises(ParityError):
        build_engine(order(darkness=3, search=False))  # an unjudged engine does not pass for a judged one


def test_the_search_keeps_the_spoilt_layer_in_float(order: Callable[..., BuildRequest]) -> None:
    said = Said()
    built = build_engine(order(darkness=3), said)
    assert built.passport.gate["verdict"] == "passed"
    assert built.passport.precision["keep_float"] == [BROKEN_LAYER]
    assert built.passport.layers["Conv"] == {"int8": 1, "fp32": 2}
    assert said.notes[0] == "int8 misses its budget: looking for the layers to keep in float"
    assert any(BROKEN_LAYER in note for note in said.notes[1:])
    spec = model_spec(built.path)
    assert spec.precision is not None and spec.precision.search["held"] is True
