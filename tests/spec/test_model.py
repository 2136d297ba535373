from __future__ import annotations

import dataclasses
import json

import pytest

from edgeface.errors import SpecError
from edgeface.imaging.geometry import template
from edgeface.spec.model import SCHEMA_VERSION, AlignmentSpec, DetectorSpec, HeadSpec, ModelSpec, default_heads

POINTS = tuple((float(x), float(y)) for x, y in template(1, 0.35, 0.5))
SPEC = ModelSpec("test", 112, AlignmentSpec(POINTS), default_heads(), training={"folds": [3, 4]}, metrics={"n": 5})


def changed(**values: object) -> str:
    return json.dumps({**json.loads(SPEC.to_json()), **values})


def test_json_round_trip() -> None:
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC
    detector = DetectorSpec("d", strides=(8, 16), training={"a": 1})
    assert DetectorSpec.from_json(detector.to_json()) == detector


def test_unknown_keys_of_the_same_schema_are_ignored() -> None:
    assert ModelSpec.from_json(changed(note="from a later patch release")) == SPEC


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": "x"}'])
@pytest.mark.parametrize("kind", [ModelSpec, DetectorSpec])
def test_what_is_no_spec_is_refused(kind: type, text: str) -> None:
    with pytest.raises(SpecError, match=f"m.onnx: its {kind.__name__} is not a JSON object with a schema_version"):
        kind.from_json(text, "m.onnx")


@pytest.mark.parametrize("kind", [ModelSpec, DetectorSpec])
def test_a_newer_schema_is_refused_with_the_way_out(kind: type) -> None:
    text = json.dumps({"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(
        SpecError,
        match=rf"has schema {SCHEMA_VERSION + 1}, this edgeface reads up to .*; (upgrade with: git -C|install a newer)",
    ):
        kind.from_json(text)


@pytest.mark.parametrize("kind", [ModelSpec, DetectorSpec])
def test_missing_fields_are_named(kind: type) -> None:
    with pytest.raises(SpecError, match="incomplete or malformed"):
        kind.from_json(json.dumps({"schema_version": SCHEMA_VERSION}))


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"input_size": 8}, "input_size 8"),
        ({"colour": "BGR"}, "colour 'BGR'"),
        ({"alignment": {"template": POINTS[:4]}}, "template has 4 points"),
        ({"alignment": {"template": POINTS, "border": "wrap"}}, "border 'wrap'"),
        ({"heads": []}, "no heads"),
        ({"heads": [dataclasses.asdict(HeadSpec("age", "guess"))]}, "head's kind"),
        ({"heads": [dataclasses.asdict(HeadSpec("gender", "classification"))]}, "lacks labels"),
    ],
)
def test_invalid_values_are_named(values: dict[str, object], what: str) -> None:
    with pytest.raises(SpecError, match=what):
        ModelSpec.from_json(changed(**values))


def test_head_by_name() -> None:
    assert SPEC.head("race").labels[3] == "Indian"
    with pytest.raises(SpecError, match="no head `hair` in `test`, it has age, age_std, gender, race"):
        SPEC.head("hair")
