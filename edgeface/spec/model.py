"""The contract that travels with a model: in ``model.pt2``, in the ONNX metadata and in an engine's passport.

A consumer reads everything it must know from here and guesses nothing from node names or shapes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str = "spec") -> ModelSpec:
        """Parse and validate; ``where`` names the file in messages. Raises ``SpecError``."""
        raw = _load(text, where, "ModelSpec")
        try:
            raw["alignment"] = AlignmentSpec(
                tuple((float(x), float(y)) for x, y in raw["alignment"]["template"]),
                raw["alignment"].get("border", "replicate"),
            )
            raw["heads"] = tuple(HeadSpec(**{**head, "labels": tuple(head["labels"])}) for head in raw["heads"])
            raw["precision"] = _precision(raw.get("precision"))
            spec = _build(cls, raw)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{where}: its ModelSpec is incomplete or malformed ({error})"
            raise SpecError(f"{what}; export the model again") from error
        spec._validate(where)
        return spec

    def _validate(self, where: str) -> None:
        problems = [
            (not 16 <= self.input_size <= 1024, f"input_size {self.input_size} is outside 16…1024"),
            (self.colour != "RGB", f"colour {self.colour!r} is not RGB"),
            (len(self.alignment.template) != 5, f"the template has {len(self.alignment.template)} points, not 5"),
            (self.alignment.border != "replicate", f"border {self.alignment.border!r} is not known"),
            (not self.heads, "it has no heads"),
            (any(h.kind not in _HEAD_KINDS for h in self.heads), f"a head's kind is none of {', '.join(_HEAD_KINDS)}"),
            (any(h.kind == "classification" and len(h.labels) < 2 for h in self.heads), "a class head lacks labels"),
        ]
        for wrong, what in problems:
            if wrong:
                raise SpecError(f"{where}: its ModelSpec is not valid: {what}; export the model again")


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
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str = "spec") -> DetectorSpec:
        """Parse and validate; ``where`` names the file in messages. Raises ``SpecError``."""
        raw = _load(text, where, "DetectorSpec")
        try:
            raw["strides"] = tuple(int(stride) for stride in raw["strides"])
            raw["precision"] = _precision(raw.get("precision"))
            return _build(cls, raw)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{where}: its DetectorSpec is incomplete or malformed ({error})"
            raise SpecError(f"{what}; export the detector again") from error


def _load(text: str, where: str, kind: str) -> dict[str, Any]:
    """JSON object of a schema this edgeface can read."""
    try:
        raw = json.loads(text)
        version = int(raw["schema_version"])
    except (ValueError, KeyError, TypeError) as error:
        what = f"{where}: its {kind} is not a JSON object with a schema_version"
        raise SpecError(f"{what}; export the model again") from error
    if version > SCHEMA_VERSION:
        raise SpecError(
            f"{where}: its {kind} has schema {version}, this edgeface reads up to {SCHEMA_VERSION}; "
            "upgrade with: pip install --upgrade edgeface"
        )
    return dict(raw)


def _precision(raw: Mapping[str, Any] | None) -> PrecisionSpec | None:
    """The optional part of a spec that files of the first edgeface lack."""
    if raw is None:
        return None
    return _build(PrecisionSpec, {**raw, "keep_float": tuple(raw.get("keep_float", ()))})


def _build(cls: type[_Spec], raw: dict[str, Any]) -> _Spec:
    """Build ``cls`` from ``raw``, ignoring keys that a same-schema file of another edgeface may add."""
    known = {item.name for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{key: value for key, value in raw.items() if key in known})


def default_heads() -> tuple[HeadSpec, ...]:
    """The heads of every edgeface attribute network, with the tolerances its export has to keep."""
    return (
        HeadSpec("age", "regression", unit="years", tolerance=0.02),
        HeadSpec("age_std", "regression", unit="years", tolerance=0.02),
        HeadSpec("gender", "classification", GENDERS, tolerance=1e-3),
        HeadSpec("race", "classification", RACES, tolerance=1e-3),
    )
