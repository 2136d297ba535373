"""High-level API: one call from an image to its faces.

analyzer = FaceAnalyzer()
for face in analyzer("photo.jpg"):
    print(face.box, face.age, face.gender, face.race)

An array's channels are taken for RGB; of OpenCV's, which are BGR: ``analyzer(cv2.imread("photo.jpg"), colour="BGR")``,
or ``FaceAnalyzer(colour="BGR")`` for all calls.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from edgeface.imaging.image_input import as_rgb, checked_colour
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
    the shipped models); ``threads`` limits the CPU threads of the models opened here (0: all cores); ``colour`` is the
    order of the channels in arrays that the analyzer is called with, "RGB" or "BGR" (``cv2.imread``). Called with an
    image it finds every face of ``min_face`` pixels or more, in an image of any size, unless the detector has a
    ``min_face`` of its own; ``None`` looks once at the image fitted to 640 px, as ``observe`` looks at video.

    Raises ``ArtifactError`` or ``SpecError`` where a file cannot be used, ``ConfigError`` for a setting out of range.
    """

    def __init__(
        self,
        detector: FaceDetector | str | os.PathLike[str] | None = None,
        attributes: AttributeEstimator | str | os.PathLike[str] | None = None,
        threads: int = 0,
        min_face: float | None = STILLS_MIN_FACE,
        colour: str = "RGB",
    ) -> None:
        self.colour = checked_colour(colour)
        self.detector = detector if isinstance(detector, FaceDetector) else FaceDetector(detector, threads=threads)
        self.min_face = checked_min_face(min_face)
        if not isinstance(attributes, AttributeEstimator):
            attributes = AttributeEstimator(attributes, threads=threads)
        self.attributes = attributes

    @property
    def spec(self) -> ModelSpec:
        """The attribute network's contract, which names the classes."""
        return self.attributes.spec

    def __call__(self, image: Any, colour: str | None = None) -> list[Face]:
        """Every face of an image, best score first, in its pixels.

        ``image``: a path, an ``http(s)://`` URL, bytes, an open file, a PIL image or an array (uint8 ``[H, W, 3]``;
        grey, alpha, uint16 and float 0…1 as well; see ``imaging.image_input``). ``colour`` as in the constructor,
        for this call. Raises ``ImageError`` for an image that cannot be read or is none.
        """
        pixels = as_rgb(image, self.colour if colour is None else colour)
        faces = self.detector(pixels, min_face=self.min_face)
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
