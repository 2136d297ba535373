"""One face, and one frame's faces, in plain Python types: what users see and what the JSON holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeface.spec import ModelSpec
from edgeface.types import Attributes, Faces, Frame, Tracks


@dataclass(frozen=True)
class Face:
    """A detected face and what the network says of it.

    ``box`` x1, y1, x2, y2 in pixels of the picture; ``score`` 0…1; ``landmarks`` five (x, y) in pixels (the subject's
    right eye, left eye, nose tip, right and left mouth corner) or ``None`` from a detector without; ``track`` number
    in a video or ``None``; ``age`` and ``age_std`` in years; the likeliest ``gender`` and ``race`` with their
    probabilities 0…1.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[tuple[float, float], ...] | None
    track: int | None
    age: float
    age_std: float
    gender: str
    gender_confidence: float
    race: str
    race_confidence: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON: pixels and years rounded to a hundredth, probabilities to four digits."""
        return {
            "box": [round(value, 2) for value in self.box],
            "score": round(self.score, 4),
            "landmarks": self.landmarks and [[round(x, 2), round(y, 2)] for x, y in self.landmarks],
            "track": self.track,
            "age": round(self.age, 2),
            "age_std": round(self.age_std, 2),
            "gender": self.gender,
            "gender_confidence": round(self.gender_confidence, 4),
            "race": self.race,
            "race_confidence": round(self.race_confidence, 4),
        }


@dataclass(frozen=True)
class FrameResult:
    """A frame and its faces, best score first: what sinks take."""

    frame: Frame
    faces: tuple[Face, ...]

    def to_dict(self) -> dict[str, Any]:
        """One line of ``run``'s JSON: ``image_dict`` with the frame's number, its time in seconds and its source."""
        frame = self.frame
        where = {"source": frame.source, "frame": frame.index, "pts_s": frame.pts_s and round(frame.pts_s, 6)}
        return {**where, **image_dict(frame.source, frame.width, frame.height, self.faces)}


def image_dict(path: str, width: int, height: int, faces: Iterable[Face]) -> dict[str, Any]:
    """One line of ``predict``'s JSON: a picture, its size in pixels and its faces."""
    return {"path": path, "width": width, "height": height, "faces": [face.to_dict() for face in faces]}


def faces_from(faces: Faces, attributes: Attributes, spec: ModelSpec, tracks: Tracks | None = None) -> list[Face]:
    """The rows of three (or two) aligned structs as ``Face`` values; ``spec`` names the classes."""
    genders, races = spec.head("gender").labels, spec.head("race").labels
    ids = [-1] * len(faces) if tracks is None else tracks.ids.tolist()
    return [
        Face(
            box=tuple(faces.boxes[row].tolist()),
            score=float(faces.scores[row]),
            landmarks=_points(faces.landmarks[row].tolist()),
            track=None if ids[row] < 0 else ids[row],
            age=float(attributes.age[row]),
            age_std=float(attributes.age_std[row]),
            gender=genders[int(np.argmax(attributes.gender[row]))],
            gender_confidence=float(attributes.gender[row].max()),
            race=races[int(np.argmax(attributes.race[row]))],
            race_confidence=float(attributes.race[row].max()),
        )
        for row in range(len(faces))
    ]


def _points(landmarks: list[list[float]]) -> tuple[tuple[float, float], ...] | None:
    if any(math.isnan(value) for point in landmarks for value in point):
        return None
    return tuple((x, y) for x, y in landmarks)
