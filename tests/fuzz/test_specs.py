"""Specs, passports and outputs that are wrong in any way end in one sentence; those that pass can be used."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.cli.main import app
from edgeface.common.files import sha256_file
from edgeface.errors import ArtifactError, EdgefaceError, SpecError
from edgeface.inference.attributes import AttributeEstimator
from edgeface.inference.detector import FaceDetector
from edgeface.inference.result import faces_from
from edgeface.runtime.base import TensorInfo
from edgeface.runtime.fake import FakeBackend
from edgeface.spec.metadata import model_spec, passport_path
from edgeface.spec.model import AlignmentSpec, DetectorSpec, HeadSpec, ModelSpec, PrecisionSpec, default_heads
from edgeface.spec.passport import Passport, check_passport, cpu_identity, differences
from edgeface.spec.precision import precision_in
from edgeface.types import Faces
from tests.fixtures import SIZE, tiny_spec, write_tiny_model

PRECISION = PrecisionSpec("int8", "u8s8", "cpu-x86", keep_float=("a",))
MODEL = json.loads(tiny_spec(precision=PRECISION).to_json())
DETECTOR = json.loads(DetectorSpec("d", precision=PRECISION).to_json())
RAW = (
    "[" * 100_000,
    '{"a":' * 100_000,
    "{} {}",
    '{"schema_version": 1e999}',
    '{"schema_version": NaN}',
    '{"schema_version": true}',
    '{"schema_version": ' + "9" * 5000 + "}",
    '{"schema_version": 1099511627776}',
    '"\\ud800"',
)
NASTY = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 1, 2, 3, 0.5, 1e308, -1e308, 2**31 - 1, 2**40, 2**63 - 1, 10**30, 1e9]),
    st.sampled_from([float("nan"), float("inf"), "", "x", "\x1b[2J", "\ud800", "\u202e", [], {}, [[]], [None], [0, 8]]),
    st.sampled_from([[8] * 5, [40_000], {"a": []}, [[0.5, 0.5]] * 5, [[0, 0], [1, 1], [2, 2], [0, 0], [1, 1]]]),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something can be replaced in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


def altered(value: Any, at: tuple[Any, ...], new: Any, drop: bool) -> Any:
    if not at:
        return new
    value = copy.deepcopy(value)
    inside = value
    for key in at[:-1]:
        inside = inside[key]
    if drop:
        del inside[at[-1]]
    else:
        inside[at[-1]] = new
    return value


def variants(valid: Any) -> st.SearchStrategy[str]:
    """Texts of ``valid`` with one or two values replaced, or one left out."""
    once = st.tuples(st.sampled_from(places(valid)), NASTY, st.sampled_from([False, False, False, True]))
    made = once.map(lambda change: altered(valid, *change))
    return st.one_of(made.map(json.dumps), st.sampled_from(RAW))


@given(variants(MODEL))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_an_attribute_networks_spec_is_refused_or_runs(text: str) -> None:
    precision_or_refusal({"edgeface.spec": text})
    try:
        spec = ModelSpec.from_json(text, "m.onnx")
    except SpecError as error:
        assert "m.onnx" in str(error) and len(str(error)) < 600
        return
    shapes = {head.name: (None, *([len(head.labels)] if head.labels else [])) for head in spec.heads}
    outputs = tuple(TensorInfo(name, np.dtype(np.float32), shape) for name, shape in shapes.items())
    size = spec.input_size
    crops = TensorInfo("crops", np.dtype(np.uint8), (None, size, size, 3))
    backend = FakeBackend(
        (crops,),
        outputs,
        lambda feed: {o.name: np.zeros((len(feed["crops"]), *o.shape[1:]), np.float32) for o in outputs},
    )
    faces = Faces(np.array([[10, 10, 60, 70]]), np.array([0.9]), np.full((1, 5, 2), np.nan))
    try:
        attributes = AttributeEstimator(backend=backend, spec=spec)(np.zeros((80, 80, 3), np.uint8), faces)
    except SpecError as error:
        assert "no head that edgeface knows" in str(error)
        return
    assert len(faces_from(faces, attributes, spec)) == 1
    assert ModelSpec.from_json(spec.to_json()) == spec


def precision_or_refusal(metadata: dict[str, str]) -> None:
    with contextlib.suppress(SpecError):
        precision_in(metadata)


@given(variants(DETECTOR))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_a_detectors_spec_is_refused_or_runs(text: str) -> None:
    precision_or_refusal({"edgeface.detector": text})
    try:
        spec = DetectorSpec.from_json(text, "d.onnx")
    except SpecError as error:
        assert "d.onnx" in str(error) and len(str(error)) < 600
        return
    image = TensorInfo("image", np.dtype(np.uint8), (None, None, None, 3))
    outputs = tuple(TensorInfo(name, np.dtype(np.float32), (None, None)) for name in ("score", "box", "landmarks"))

    def answer(feed: Any) -> dict[str, Any]:
        height, width = feed["image"].shape[1:3]
        assert max(height, width) <= 8192, "an image of 96 pixels must not take the memory"
        count = sum((height // stride) * (width // stride) for stride in spec.strides)
        zeros = {"score": (1, count), "box": (1, count, 4), "landmarks": (1, count, 10)}
        return {name: np.zeros(shape, np.float32) for name, shape in zeros.items()}

    detector = FaceDetector(backend=FakeBackend((image,), outputs, answer), spec=spec)
    assert len(detector(np.zeros((64, 96, 3), np.uint8))) == 0
    assert DetectorSpec.from_json(spec.to_json()) == spec


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("engine") / "tiny.onnx")


def passport_of(engine: Path) -> Passport:
    return Passport(
        key="k" * 64,
        engine_sha256=sha256_file(engine),
        target="cpu-x86",
        source={"name": "tiny.onnx", "sha256": "s" * 64},
        recipe={"hardware_compatible": "none"},
        machine=cpu_identity(),
        command="edgeface build-engine tiny.onnx --target cpu -o engine.onnx",
        calibration={"name": "set", "digest": "d"},
        metadata={"edgeface.spec": tiny_spec().to_json()},
    )


@given(st.data())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_passport_is_refused_or_read(engine: Path, data: st.DataObject) -> None:
    valid = json.loads(json.dumps(dataclasses.asdict(passport_of(engine))))
    passport_path(engine).write_text(data.draw(variants(valid)), encoding="utf-8", errors="surrogatepass")
    as_engine = engine.with_suffix(".engine")
    passport_path(as_engine).write_bytes(passport_path(engine).read_bytes())
    for read in (lambda: differences(check_passport(engine), {}), lambda: model_spec(as_engine)):
        try:
            read()
        except EdgefaceError as error:
            assert isinstance(error, (ArtifactError, SpecError)) and len(str(error)) < 800


@pytest.mark.parametrize(
    "text", [json.dumps({**MODEL, "heads": 3}), RAW[0], json.dumps({**MODEL, "input_size": 1e999})]
)
def test_commands_end_in_one_sentence(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_tiny_model(tmp_path / "m.onnx", text)
    with pytest.raises(SystemExit) as ended:
        app(["info", str(model)], prog_name="edgeface")
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: `") and told.count("\n") == 1 and "its ModelSpec is" in told


@pytest.mark.parametrize(
    ("name", "answer", "what"),
    [
        ("age", np.zeros((1, 1)), r"expected \[1\], found \[1, 1\]"),
        ("age", np.full(1, np.nan), "not a finite number"),
        ("age_std", np.full(1, np.inf), "not a finite number"),
        ("race", np.zeros((1, 2)), r"expected \[1, 5\], found \[1, 2\]"),
        ("gender", np.array([[1.5, -0.5]]), "expected probabilities from 0 to 1, found -0.5 to 1.5"),
    ],
)
def test_an_output_that_the_spec_does_not_allow_is_named(name: str, answer: np.ndarray[Any, Any], what: str) -> None:
    spec = tiny_spec()
    answers = {"age": np.zeros(1), "age_std": np.zeros(1), "gender": np.zeros((1, 2)), "race": np.zeros((1, 5))}
    outputs = tuple(TensorInfo(key, np.dtype(np.float32), (None,)) for key in answers)
    crops = TensorInfo("crops", np.dtype(np.uint8), (None, SIZE, SIZE, 3))
    estimator = AttributeEstimator(
        backend=FakeBackend((crops,), outputs, lambda _: {**answers, name: answer}), spec=spec
    )
    with pytest.raises(
        ArtifactError, match=rf"the output `{name}` of the network `tiny` does not fit its spec: .*{what}"
    ):
        estimator.from_crops(np.zeros((1, SIZE, SIZE, 3), np.uint8))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"heads": (HeadSpec("race", "classification", ("a", "b")),)}, "`race` has another number of labels"),
        ({"heads": (HeadSpec("age", "classification", ("a", "b")),)}, "`age` is of another kind"),
        ({"alignment": AlignmentSpec(((0.5, 0.5),) * 5)}, "lies on one spot or one line"),
        ({"heads": default_heads()[:1] * 2}, "two heads have one name"),
    ],
)
def test_a_spec_that_no_network_can_follow_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(SpecError, match=what):
        ModelSpec.from_json(tiny_spec(**changes).to_json())


def test_metrics_that_are_no_numbers_are_null() -> None:
    assert ModelSpec.from_json(tiny_spec(metrics={"mae": float("nan")}).to_json()).metrics == {"mae": None}
