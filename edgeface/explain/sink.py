"""A sink that explains: for every face an image of which parts of its crop speak for its answers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edgeface.errors import SinkError
from edgeface.explain.draw import draw_maps, tiles_of
from edgeface.explain.explainer import Explainer
from edgeface.imaging.image_io import write_image
from edgeface.imaging.preprocess import align, centre_crop
from edgeface.inference.attributes import landmarks_of
from edgeface.inference.result import Face, FrameResult
from edgeface.sinks.base import Sink, writing
from edgeface.types import Faces, Image


class MapSink(Sink):
    """A directory with ``NAME-face0.png``, ``NAME-face1.png`` … for the faces of image NAME, best score first.

    ``model`` is the ONNX file that answered; ``whole`` says that every image is one face cut out already. Raises what
    ``Explainer`` raises, and ``SinkError`` where nothing can be written.
    """

    pictures = True

    def __init__(
        self, path: str | os.PathLike[str], model: str | os.PathLike[str], threads: int = 0, whole: bool = False
    ) -> None:
        self.name = os.fspath(path)
        self._directory, self._whole = Path(path), whole
        self._taken: set[str] = set()
        self._explainer = Explainer(model, threads)
        with writing(self.name):
            self._directory.mkdir(parents=True, exist_ok=True)
        if not os.access(self._directory, os.W_OK | os.X_OK):
            raise SinkError(f"cannot write `{self.name}`: the directory is not writable")

    def append(self, result: FrameResult) -> None:
        """Explain every face of an image."""
        stem = self._stem(result)
        for number, face in enumerate(result.faces):
            crop = self._crop(result.frame.pixels, face)
            drawn = draw_maps(crop, tiles_of(self._explainer(crop), self._explainer.spec.heads))
            write_image(self._directory / f"{stem}-face{number}.png", drawn)

    def close(self) -> None:
        """Free the networks; every image was finished when it was appended."""
        self._explainer.close()

    def _crop(self, pixels: Image, face: Face) -> Image:
        """What the network saw of ``face``."""
        spec = self._explainer.spec
        if self._whole:
            return centre_crop(pixels, spec.input_size)
        points = np.full((5, 2), np.nan) if face.landmarks is None else np.asarray(face.landmarks)
        faces = Faces(
            np.asarray([face.box], np.float32), np.asarray([face.score], np.float32), points[None].astype(np.float32)
        )
        crop: Image = align(pixels, landmarks_of(faces), spec.alignment, spec.input_size)[0]
        return crop

    def _stem(self, result: FrameResult) -> str:
        """A name of its own for every image, also where those of two directories share one."""
        source = Path(result.frame.source or "picture").stem
        stem, copy = source, 2
        while stem in self._taken:
            stem, copy = f"{source}-{copy}", copy + 1
        self._taken.add(stem)
        return stem
