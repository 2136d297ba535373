"""One face, and one frame's faces, in plain Python types: what users see and what the JSON holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeface.spec.model import ModelSpec
from edgeface.types import HEADS, Attributes, Faces, Floats, Frame, Fused, Tracks

AGE_STD_LIMIT, GENDER_LIMIT, RACE_LIMIT = 10.0, 0.75, 0.5
"""Beyond which an age (spread in years), a gender and a race (probability) are too unsure to rely on."""
SCHEMA = 1
"""Version of the JSON of ``FrameResult``; raised whenever a reader of the older one would misread it."""


@dataclass(frozen=True)
class Face:
    """A detected face and what the network says of it.

    ``box`` x1, y1, x2, y2 in pixels of the image; ``score`` 0…1; ``landmarks`` five (x, y) in pixels (the subject's
    right eye, left eye, nose tip, right and left mouth corner) or ``None`` from a detector without; ``track`` number
    in a video or ``None``; ``age`` and ``age_std`` in years; the likeliest ``gender`` and ``race`` with their
    probabilities 0…1. ``None`` is what a network without the head says. ``abstained`` names the heads too unsure to
    rely on: a spread above ``AGE_STD_LIMIT``, a probability below ``GENDER_LIMIT`` or ``RACE_LIMIT``.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[tuple[float, float], ...] | None
    track: int | None
    age: float | None
    age_std: float | None
    gender: str | None
    gender_confidence: float | None
    race: str | None
    race_confidence: float | None
    abstained: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON: pixels and years rounded to a hundredth, probabilities to four digits."""
        return {
            "box": [round(value, 2) for value in self.box],
            "score": round(self.score, 4),
            "landmarks": self.landmarks and [[round(x, 2), round(y, 2)] for x, y in self.landmarks],
            "track": self.track,
            "age": _rounded(self.age, 2),
            "age_std": _rounded(self.age_std, 2),
            "gender": self.gender,
            "gender_confidence": _rounded(self.gender_confidence, 4),
            "race": self.race,
            "race_confidence": _rounded(self.race_confidence, 4),
            "abstained": list(self.abstained),
        }


@dataclass(frozen=True)
class FrameResult:
    """A frame and its faces, best score first: what sinks take."""

    frame: Frame
    faces: tuple[Face, ...]

    def to_dict(self) -> dict[str, Any]:
        """One line of ``run``'s JSON: ``image_dict`` with schema, frame number, time in seconds and source."""
        frame = self.frame
        where = {"source": frame.source, "frame": frame.index, "pts_s": frame.pts_s and round(frame.pts_s, 6)}
        return {"schema": SCHEMA, **where, **image_dict(frame.source, frame.width, frame.height, self.faces)}


def image_dict(path: str, width: int, height: int, faces: Iterable[Face]) -> dict[str, Any]:
    """One line of ``predict``'s JSON: an image, its size in pixels and its faces."""
    return {"path": path, "width": width, "height": height, "faces": [face.to_dict() for face in faces]}


def faces_from(faces: Faces, attributes: Attributes, spec: ModelSpec, tracks: Tracks | None = None) -> list[Face]:
    """The rows of three (or two) aligned structs as ``Face`` values; ``spec`` names the classes.

    Of ``Fused`` attributes the classes are those that are held on to, which need not be the likeliest.
    """
    genders, races = (_classes(attributes, name, spec) for name in ("gender", "race"))
    ids = [-1] * len(faces) if tracks is None else tracks.ids.tolist()
    return [
        Face(
            box=tuple(faces.boxes[row].tolist()),
            score=float(faces.scores[row]),
            landmarks=_points(faces.landmarks[row].tolist()),
            track=None if ids[row] < 0 else ids[row],
            age=_known(attributes.age[row]),
            age_std=_known(attributes.age_std[row]),
            gender=genders[row][0],
            gender_confidence=genders[row][1],
            race=races[row][0],
            race_confidence=races[row][1],
            abstained=_unsure(attributes, row, spec),
        )
        for row in range(len(faces))
    ]


def _classes(attributes: Attributes, name: str, spec: ModelSpec) -> list[tuple[str | None, float | None]]:
    """The class of each row and its probability, both ``None`` without the head or any answer of it."""
    chances: Floats = getattr(attributes, name)
    if all(head.name != name for head in spec.heads):
        return [(None, None)] * len(chances)
    labels = spec.head(name).labels
    chosen = getattr(attributes, f"{name}_label") if isinstance(attributes, Fused) else np.argmax(chances, axis=1)
    return [(None, None) if at < 0 else (labels[at], float(row[at])) for at, row in zip(chosen.tolist(), chances)]


def _unsure(attributes: Attributes, row: int, spec: ModelSpec) -> tuple[str, ...]:
    """Heads too unsure to rely on: by the same limits for one look as for what several say together."""
    if not isinstance(attributes, Fused):
        present = {head.name for head in spec.heads}
        sure = {
            "age": attributes.age_std[row] <= AGE_STD_LIMIT,
            "gender": attributes.gender[row].max(initial=0) >= GENDER_LIMIT,
            "race": attributes.race[row].max(initial=0) >= RACE_LIMIT,
        }
        return tuple(name for name in HEADS if name in present and not sure[name])
    return tuple(name for name, unsure in zip(HEADS, attributes.abstained[row]) if unsure)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _points(landmarks: list[list[float]]) -> tuple[tuple[float, float], ...] | None:
    if any(math.isnan(value) for point in landmarks for value in point):
        return None
    return tuple((x, y) for x, y in landmarks)
