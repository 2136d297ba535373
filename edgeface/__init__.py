"""edgeface: age, gender and race of every face in an image or a stream, with one compact network.

    from edgeface import FaceAnalyzer, read_image

    analyzer = FaceAnalyzer()
    for face in analyzer(read_image("photo.jpg")):
        print(face.box, face.age, face.gender, face.race)

Not a face *recognition* model. Names are imported on first use, so ``import edgeface`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgeface.api import AttributeEstimator, Face, FaceAnalyzer, FaceDetector
    from edgeface.errors import EdgefaceError
    from edgeface.imaging.image_io import read_image
    from edgeface.spec.model import ModelSpec
    from edgeface.types import Attributes, Faces, Frame, Tracks

_HOMES = {
    "AttributeEstimator": "edgeface.api",
    "Attributes": "edgeface.types",
    "EdgefaceError": "edgeface.errors",
    "Face": "edgeface.api",
    "FaceAnalyzer": "edgeface.api",
    "FaceDetector": "edgeface.api",
    "Faces": "edgeface.types",
    "Frame": "edgeface.types",
    "ModelSpec": "edgeface.spec",
    "Tracks": "edgeface.types",
    "read_image": "edgeface.imaging.image_io",
}

__all__ = [
    "AttributeEstimator",
    "Attributes",
    "EdgefaceError",
    "Face",
    "FaceAnalyzer",
    "FaceDetector",
    "Faces",
    "Frame",
    "ModelSpec",
    "Tracks",
    "read_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgeface' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
