"""Finding faces: fit the image to the detector's canvas, run it, decode, suppress, go back to image pixels."""

from __future__ import annotations

import dataclasses
import os
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ArtifactError, ConfigError, EdgefaceError, ImageError
from edgeface.imaging.geometry import Letterbox, letterbox
from edgeface.imaging.image_input import as_rgb
from edgeface.imaging.postprocess import nms
from edgeface.imaging.preprocess import fit_canvas
from edgeface.inference.detector_families import recognise
from edgeface.inference.views import View, joined, merged, views
from edgeface.runtime.base import Backend, TensorInfo, wanted_runtime
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import detector_spec
from edgeface.spec.model import DetectorSpec
from edgeface.types import Faces, Floats, Image

SMALLEST_FACE_PX, LARGEST_FACE_PX = 8, 10_000  # what ``min_face`` may be


class FaceDetector:
    """Finds faces in an image with edgeface's own detector or one that users swap in.

    ``model`` is an ONNX file (``None``: the shipped detector; ``"street"``: the shipped one for turned heads, masks and
    small faces) of a family in ``inference.detector_families``. A ready
    ``backend`` takes its place in tests; with our own signature it needs the ``spec`` that a file carries.
    ``threads`` and ``runtime`` as in ``open_backend`` (``None``: the one that ``EDGEFACE_RUNTIME`` names).
    ``score_threshold`` (0…1) and ``longest_px`` (the side images are fitted to, in pixels) default to what the family
    was tuned for. ``min_face`` (pixels of the image) makes it find every face from that size on, in an image of any
    size: see ``inference.views``. Without it the image is fitted to ``longest_px`` at one look, which is what video
    wants.

    Raises ``ArtifactError`` for a file that is missing, damaged or no known detector, ``ConfigError`` for a setting
    out of range or one the model cannot follow.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        backend: Backend | None = None,
        threads: int = 0,
        score_threshold: float | None = None,
        longest_px: int | None = None,
        spec: DetectorSpec | None = None,
        runtime: str | None = None,
        min_face: float | None = None,
    ) -> None:
        where = "the backend"
        if backend is None:
            path = detector_model(model)
            where = f"`{path}`"
            spec, backend = detector_spec(path), open_backend(path, threads, runtime=runtime or wanted_runtime())
        self.backend = backend
        self.family = recognise(backend.outputs, spec, where)
        self._input = backend.inputs[0]
        self._fixed = _fixed_canvas(self._input, self.family.name)
        self.score_threshold = self.family.score_threshold if score_threshold is None else score_threshold
        self.longest_px = self.family.longest_px if longest_px is None else longest_px
        if not 0 < self.score_threshold <= 1:
            raise ConfigError(f"score_threshold: expected a number above 0 and up to 1, found {self.score_threshold}")
        if self.longest_px < self.family.multiple:
            raise ConfigError(f"longest_px: expected {self.family.multiple} pixels or more, found {self.longest_px}")
        if self._fixed and longest_px is not None:
            raise ConfigError(f"longest_px: {where} takes only {self._fixed[0]}x{self._fixed[1]} pixels, leave it out")
        self.min_face = checked_min_face(min_face)

    def __call__(self, image: Any, colour: str = "RGB", min_face: float | None = None) -> Faces:
        """Faces of ``image``, best score first, in its pixels.

        ``image`` is anything that ``imaging.image_input.as_rgb`` takes; ``colour`` the order of an array's channels,
        "BGR" for OpenCV's. ``min_face`` stands in where the detector was opened without one; a model that takes one
        size only looks once in any case. Boxes are clipped to the image and never empty; landmarks may lie outside it
        and are NaN where the family has none. Raises ``ImageError`` for anything that is no image.
        """
        image = as_rgb(image, colour)
        smallest = self.min_face or min_face
        if smallest is None or self._fixed:
            return self._look(image, self._fit(image.shape[1], image.shape[0]))
        height, width = image.shape[:2]
        scales = views(width, height, smallest, self.longest_px, self.family.multiple)
        return merged([joined([self._part(image, view) for view in scale]) for scale in scales], self.family.nms_iou)

    def _look(self, image: Image, fit: Letterbox) -> Faces:
        """Faces of an image at one look."""
        outputs = self.backend.infer({self._input.name: self.family.encode(fit_canvas(image, fit))})
        found = self._decoded(outputs, (fit.canvas_width, fit.canvas_height))
        kept = nms(found, self.family.nms_iou)
        boxes = _clip(fit.to_image(kept.boxes.reshape(-1, 2, 2)).reshape(-1, 4), image.shape[1], image.shape[0])
        visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return Faces(boxes, kept.scores, fit.to_image(kept.landmarks))[visible]

    def _part(self, image: Image, view: View) -> Faces:
        """Faces of one view, in the image's pixels, without those that the view cuts through."""
        part = image[view.y : view.y + view.height, view.x : view.x + view.width]
        found = self._look(np.ascontiguousarray(part), view.fit)
        found = found[view.whole(found.boxes)]
        offset = np.array([view.x, view.y], np.float32)
        return Faces(found.boxes + np.tile(offset, 2), found.scores, found.landmarks + offset)

    def _decoded(self, outputs: dict[str, NDArray[Any]], canvas: tuple[int, int]) -> Faces:
        """Candidates in canvas pixels. Raises ``ArtifactError`` for outputs that are not of the family's shapes."""
        try:
            found = self.family.decode(outputs, canvas, self.score_threshold)
        except (ValueError, IndexError) as error:
            if isinstance(error, EdgefaceError):
                raise
            shapes = ", ".join(f"{name} {list(output.shape)}" for name, output in outputs.items())
            raise ArtifactError(f"the outputs are not those of a {self.family.name} detector: {shapes}") from error
        if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
            raise ArtifactError(f"the {self.family.name} detector gives boxes or scores that are not finite numbers")
        return found

    def encoded(self, image: Image) -> dict[str, NDArray[Any]]:
        """What the network is fed for ``image``."""
        canvas = fit_canvas(image, self._fit(image.shape[1], image.shape[0]))
        return {self._input.name: self.family.encode(canvas)}

    def _fit(self, width: int, height: int) -> Letterbox:
        if self._fixed is None:
            return letterbox(width, height, self.longest_px, self.family.multiple, self.family.upscale)
        canvas_width, canvas_height = self._fixed
        longest = max(width, height) * min(canvas_width / width, canvas_height / height)
        fit = letterbox(width, height, int(longest), upscale=self.family.upscale)
        return dataclasses.replace(fit, canvas_width=canvas_width, canvas_height=canvas_height)

    def close(self) -> None:
        self.backend.close()

    def __enter__(self) -> FaceDetector:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def checked_min_face(min_face: float | None) -> float | None:
    """``min_face`` as it is. Raises ``ConfigError`` unless it is a size that a face can have, in pixels."""
    if min_face is not None and not SMALLEST_FACE_PX <= min_face <= LARGEST_FACE_PX:
        raise ConfigError(
            f"min_face: expected {SMALLEST_FACE_PX} to {LARGEST_FACE_PX} pixels of the image, found {min_face:g}"
        )
    return min_face


def detector_model(model: str | os.PathLike[str] | None) -> Path:
    """The detector that ``model`` names: a file, ``"street"`` (the shipped one that was trained on street photographs
    and heads turned by any angle), or ``None`` (the shipped default)."""
    if model is None:
        return shipped_model("detector.onnx")
    path = Path(model)
    return shipped_model("detector-street.onnx") if str(path) == "street" and not path.exists() else path


def attribute_model(model: str | os.PathLike[str] | None) -> Path:
    """The attribute network that ``model`` names: a file, ``"fairface"`` (the shipped one that no image of UTKFace
    trained), or ``None`` (the shipped default)."""
    if model is None:
        return shipped_model("attributes.onnx")
    path = Path(model)
    return shipped_model("attributes-fairface.onnx") if str(path) == "fairface" and not path.exists() else path


def shipped_model(name: str) -> Path:
    """The path of a model that comes with edgeface. Raises ``ArtifactError`` where this installation lacks it."""
    path = Path(str(resources.files("edgeface") / "assets" / "models" / name))
    if not path.is_file():
        raise ArtifactError(f"no shipped model at `{path}`: install edgeface again or name a model file of your own")
    return path


def check_image(image: object) -> None:
    """Raise ``ImageError`` unless ``image`` is a uint8 ``[H, W, 3]`` array with at least one pixel."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"expected an image as a uint8 [H, W, 3] RGB array, found {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ImageError(f"expected an image as a uint8 [H, W, 3] RGB array, found {image.dtype} {list(image.shape)}")


def _fixed_canvas(info: TensorInfo, family: str) -> tuple[int, int] | None:
    """(width, height) where the model takes one size only; ``None`` where it takes any."""
    sides = info.shape[1:3] if family == "edgeface" else info.shape[2:4]
    height, width = sides
    return None if height is None or width is None else (width, height)


def _clip(boxes: Floats, width: int, height: int) -> Floats:
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)
