"""The contract that travels with a model: in ``model.pt2``, in the ONNX metadata and in an engine's passport.

A consumer reads everything it must know from here and guesses nothing from node names or shapes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edgeface.common.install import upgrade
from edgeface.common.json_text import finite_json, json_object
from edgeface.common.toml_file import from_table
from edgeface.errors import SpecError

SCHEMA_VERSION = 1
"""Raised whenever an older edgeface would misread a newer file."""
MODEL_KEY = "edgeface.spec"
DETECTOR_KEY = "edgeface.detector"

GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "Others")
"""UTKFace's five classes in its order; "Others" holds Hispanic, Latino, Middle Eastern and more."""

_Spec = TypeVar("_Spec")
_HEAD_KINDS = ("regression", "classification")
_LONGEST_NAME = 200
_SMALLEST_AREA = 1e-3
"""Of a template of the crop's size; the shipped networks' has 0.02."""


@dataclass(frozen=True)
class HeadSpec:
    """One named output of the network.

    ``kind`` "regression" (float32 ``[N]``, in ``unit``) or "classification" (float32 ``[N, len(labels)]``
    probabilities). ``tolerance`` is the largest absolute difference from the PyTorch program that an export of the
    same precision may show, in the head's own unit.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    tolerance: float = 1e-3


@dataclass(frozen=True)
class AlignmentSpec:
    """How a face becomes a crop: five landmarks are mapped by a similarity onto ``template``.

    ``template`` holds x, y as fractions of the crop's side, in ``Faces.landmarks``' order. ``border`` says what lies
    outside the image ("replicate": its edge pixels).
    """

    template: tuple[tuple[float, float], ...]
    border: str = "replicate"


@dataclass(frozen=True)
class PrecisionSpec:
    """How a model was made smaller: what ``edgeface quantize`` did to the float model ``source_sha256``.

    ``precision`` is "int8" or "fp16". ``flavour`` says which integers meet in a layer: "s8s8" (signed activations and
    weights), "u8s8" (unsigned activations, weights of seven bits) or "fp16"; ``target`` what it was written for. The
    activation ranges come from calibration set ``set_name`` (``set_digest``) by ``method``; layers in ``keep_float``
    stayed in float, and ``search`` tells why, if a search chose them.
    """

    precision: str
    flavour: str
    target: str
    method: str = ""
    set_name: str = ""
    set_digest: str = ""
    keep_float: tuple[str, ...] = ()
    source_sha256: str = ""
    search: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSpec:
    """Everything about an attribute network: input, heads, training data, metrics, identity.

    Input is uint8 ``[N, input_size, input_size, 3]`` in ``colour`` order, 0…255. ``training`` says what it was
    trained on and by which fold rule; ``metrics`` were measured at export; ``weights_sha256`` identifies the weights.
    ``precision`` is ``None`` in a float model; in another, ``metrics`` are still those of the float model.
    """

    name: str
    input_size: int
    alignment: AlignmentSpec
    heads: tuple[HeadSpec, ...]
    colour: str = "RGB"
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    precision: PrecisionSpec | None = None
    schema_version: int = SCHEMA_VERSION

    def head(self, name: str) -> HeadSpec:
        """The head called ``name``; ``SpecError`` names those there are."""
        for head in self.heads:
            if head.name == name:
                return head
        raise SpecError(f"no head `{name}` in `{self.name}`, it has {', '.join(h.name for h in self.heads)}")

    def to_json(self) -> str:
        return _json(self)

    @classmethod
    def from_json(cls, text: str, where: str = "spec") -> ModelSpec:
        """Parse and validate; ``where`` names the file in messages. Raises ``SpecError``."""
        spec = _parsed(cls, text, where)
        _refuse(where, cls, [*_model_faults(spec), *_head_faults(spec.heads)])
        return spec


def _model_faults(spec: ModelSpec) -> list[tuple[bool, str]]:
    points = spec.alignment.template
    inside = all(-0.5 <= value <= 1.5 for point in points for value in point)
    return [
        (not 0 < len(spec.name) <= _LONGEST_NAME, f"its name has {len(spec.name)} characters, not 1…{_LONGEST_NAME}"),
        (not 16 <= spec.input_size <= 1024, f"input_size {spec.input_size} is outside 16…1024"),
        (spec.colour != "RGB", f"colour {spec.colour[:20]!r} is not RGB"),
        (len(points) != 5, f"the template has {len(points)} points, not 5"),
        (not inside, "the template lies outside the crop"),
        (
            inside and len(points) == 5 and _area(points) < _SMALLEST_AREA,
            "the template lies on one spot or one line",
        ),
        (spec.alignment.border != "replicate", f"border {spec.alignment.border[:20]!r} is not known"),
    ]


def _area(points: Sequence[tuple[float, float]]) -> float:
    """The determinant of the points' covariance: 0 where they lie on a line, which no crop can be turned by."""
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points))
    xx = sum((x - mean_x) ** 2 for x, _ in points)
    yy = sum((y - mean_y) ** 2 for _, y in points)
    xy = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return float(xx * yy - xy * xy)


def _head_faults(heads: tuple[HeadSpec, ...]) -> list[tuple[bool, str]]:
    names = [head.name for head in heads]
    kinds = {head.name: head.kind for head in default_heads()}
    odd = [head for head in heads if kinds.get(head.name, head.kind) != head.kind]
    classes = [head for head in heads if head.kind == "classification"]
    counts = {head.name: len(head.labels) for head in default_heads()}
    short = [head for head in classes if counts.get(head.name, len(head.labels)) != len(head.labels)]
    return [
        (not heads, "it has no heads"),
        (len(set(names)) < len(names) or "" in names, "two heads have one name, or one has none"),
        (any(head.kind not in _HEAD_KINDS for head in heads), f"a head's kind is none of {', '.join(_HEAD_KINDS)}"),
        (bool(odd), f"the head `{odd[0].name if odd else ''}` is of another kind than edgeface's"),
        (any(len(head.labels) < 2 for head in classes), "a class head lacks labels"),
        (bool(short), f"the head `{short[0].name if short else ''}` has another number of labels than edgeface's"),
        (any(len(set(head.labels)) < len(head.labels) for head in classes), "a class head has a label twice"),
        (any(head.labels and head.kind == "regression" for head in heads), "a head of numbers has labels"),
        (any(not 0 <= head.tolerance <= 100 for head in heads), "a head's tolerance is outside 0…100"),
    ]


@dataclass(frozen=True)
class DetectorSpec:
    """Everything about a face detector of ours: strides of its maps, thresholds, the input size it was tuned for.

    ``longest_px`` is the longest side images are fitted to, ``upscale`` by how much smaller ones may be enlarged;
    height and width of the input are whole ``multiple``s. ``score_threshold`` and ``nms_iou`` were chosen on
    validation images.
    """

    name: str
    strides: tuple[int, ...] = (8, 16, 32)
    multiple: int = 32
    longest_px: int = 640
    upscale: float = 2.0
    score_threshold: float = 0.5
    nms_iou: float = 0.4
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    precision: PrecisionSpec | None = None
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        return _json(self)

    @classmethod
    def from_json(cls, text: str, where: str = "spec") -> DetectorSpec:
        """Parse and validate; ``where`` names the file in messages. Raises ``SpecError``."""
        spec = _parsed(cls, text, where)
        _refuse(where, cls, _detector_faults(spec))
        return spec


def _detector_faults(spec: DetectorSpec) -> list[tuple[bool, str]]:
    strides = spec.strides
    usable = 0 < spec.multiple <= 1024 and all(0 < stride <= spec.multiple for stride in strides)
    return [
        (not 0 < len(spec.name) <= _LONGEST_NAME, f"its name has {len(spec.name)} characters, not 1…{_LONGEST_NAME}"),
        (not 1 <= len(strides) <= 4, f"it has {len(strides)} strides, not 1…4"),
        (not usable, f"multiple {spec.multiple} or a stride is outside 1…1024, or a stride above the multiple"),
        (usable and any(spec.multiple % stride for stride in strides), f"a stride does not divide {spec.multiple}"),
        (len(set(strides)) < len(strides), "a stride stands there twice"),
        (not spec.multiple <= spec.longest_px <= 4096, f"longest_px {spec.longest_px} is outside {spec.multiple}…4096"),
        (not 0 < spec.upscale <= 16, f"upscale {spec.upscale:g} is outside 0…16"),
        (not 0 < spec.score_threshold <= 1, f"score_threshold {spec.score_threshold:g} is outside 0…1"),
        (not 0 <= spec.nms_iou <= 1, f"nms_iou {spec.nms_iou:g} is outside 0…1"),
    ]


def _json(spec: ModelSpec | DetectorSpec) -> str:
    """The spec as JSON; a metric that is not a number becomes null, since NaN is not JSON."""
    return json.dumps(finite_json(dataclasses.asdict(spec)), ensure_ascii=False, allow_nan=False)


def _parsed(kind: type[_Spec], text: str, where: str) -> _Spec:
    """The spec in ``text``, its types checked; keys that a same-schema file of another edgeface adds are ignored."""
    again = "export the detector again" if kind is DetectorSpec else "export the model again"
    try:
        raw = json_object(text)
        version = raw["schema_version"]
        if type(version) is not int or version < 1:
            raise ValueError("it is not a whole number from 1")
    except (ValueError, KeyError) as error:
        what = f"{where}: its {kind.__name__} is not a JSON object with a schema_version"
        raise SpecError(f"{what}; {again}") from error
    if version > SCHEMA_VERSION:
        raise SpecError(
            f"{where}: its {kind.__name__} has schema {version}, this edgeface reads up to {SCHEMA_VERSION}; "
            f"{upgrade()}"
        )
    try:
        return from_table(kind, raw, "the spec", SpecError, ignore_unknown=True)
    except SpecError as error:
        raise SpecError(f"{where}: its {kind.__name__} is incomplete or malformed ({error}); {again}") from None


def _refuse(where: str, kind: type, faults: Iterable[tuple[bool, str]]) -> None:
    """Raise ``SpecError`` for the first of the faults that is one."""
    for wrong, what in faults:
        if wrong:
            raise SpecError(f"{where}: its {kind.__name__} is not valid: {what}; export the model again")


def default_heads() -> tuple[HeadSpec, ...]:
    """The heads of every edgeface attribute network, with the tolerances its export has to keep."""
    return (
        HeadSpec("age", "regression", unit="years", tolerance=0.02),
        HeadSpec("age_std", "regression", unit="years", tolerance=0.02),
        HeadSpec("gender", "classification", GENDERS, tolerance=1e-3),
        HeadSpec("race", "classification", RACES, tolerance=1e-3),
    )
