"""High-level API: one call from an image to its faces.

analyzer = FaceAnalyzer()
for face in analyzer("photo.jpg"):
    print(face.box, face.age, face.gender, face.race)
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from edgeface.imaging.image_io import read_image
from edgeface.inference.attributes import AttributeEstimator
from edgeface.inference.detector import FaceDetector, checked_min_face
from edgeface.inference.observation import Observation
from edgeface.inference.result import Face, faces_from
from edgeface.spec.defaults import STILLS_MIN_FACE
from edgeface.spec.model import ModelSpec
from edgeface.types import Image

__all__ = ["AttributeEstimator", "Face", "FaceAnalyzer", "FaceDetector"]


class FaceAnalyzer:
    """Detector and attribute network in one.

    ``detector`` and ``attributes`` are ONNX files or ready ``FaceDetector`` / ``AttributeEstimator`` objects (``None``:
    the shipped models); ``threads`` limits the CPU threads of the models opened here (0: all cores). Called with
    an image it finds every face of ``min_face`` pixels or more, in an image of any size, unless the detector has a
    ``min_face`` of its own; ``None`` looks once at the image fitted to 640 px, as ``observe`` looks at video.

    Raises ``ArtifactError`` or ``SpecError`` where a file cannot be used, ``ConfigError`` for a ``min_face`` out of
    range.
    """

    def __init__(
        self,
        detector: FaceDetector | str | os.PathLike[str] | None = None,
        attributes: AttributeEstimator | str | os.PathLike[str] | None = None,
        threads: int = 0,
        min_face: float | None = STILLS_MIN_FACE,
    ) -> None:
        self.detector = detector if isinstance(detector, FaceDetector) else FaceDetector(detector, threads=threads)
        self.min_face = checked_min_face(min_face)
        if not isinstance(attributes, AttributeEstimator):
            attributes = AttributeEstimator(attributes, threads=threads)
        self.attributes = attributes

    @property
    def spec(self) -> ModelSpec:
        """The attribute network's contract, which names the classes."""
        return self.attributes.spec

    def __call__(self, image: Image | str | os.PathLike[str]) -> list[Face]:
        """Every face of an image (uint8 ``[H, W, 3]`` RGB or a file's path), best score first, in its pixels.

        Raises ``ImageError`` for an image that cannot be read or an array of another kind.
        """
        pixels = read_image(image) if isinstance(image, (str, os.PathLike)) else image
        faces = self.detector(pixels, self.min_face)
        return faces_from(faces, self.attributes(pixels, faces), self.spec)

    batch_size = 1
    """How many images ``observe`` takes in one call."""

    def observe(self, images: Sequence[Image]) -> list[Observation]:
        """The faces of video frames (uint8 ``[H, W, 3]`` RGB), each looked at once, with attributes on demand."""
        return [self._observed(pixels) for pixels in images]

    def _observed(self, pixels: Image) -> Observation:
        faces = self.detector(pixels)
        return Observation(faces, lambda due: self.attributes(pixels, faces[due]))

    def close(self) -> None:
        """Free both models."""
        self.detector.close()
        self.attributes.close()

    def __enter__(self) -> FaceAnalyzer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
