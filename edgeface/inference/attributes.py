"""Age, gender and race of detected faces: align, run the network in batches, collect."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ConfigError, ImageError, SpecError
from edgeface.imaging.image_input import as_rgb
from edgeface.imaging.preprocess import align
from edgeface.inference.detector import attribute_model
from edgeface.inference.outputs import checked_head
from edgeface.runtime.base import Backend, wanted_runtime
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import model_spec
from edgeface.spec.model import ModelSpec
from edgeface.types import Attributes, Faces, Floats

_HEADS = tuple(item.name for item in fields(Attributes))

LANDMARKS_IN_BOX: tuple[tuple[float, float], ...] = (
    (0.26, 0.37),
    (0.74, 0.37),
    (0.50, 0.58),
    (0.29, 0.73),
    (0.71, 0.73),
)
"""Where the five landmarks lie in a frontal face's box, as fractions of its width and height.

Stands in for the landmarks of a detector that gives none: the median over 540 UltraFace boxes, made symmetric. A
turned or tilted head is then cropped unaligned, which costs accuracy; prefer a detector with landmarks.
"""


class AttributeEstimator:
    """Estimates age, gender and race of faces with an edgeface attribute network.

    ``model`` is an ONNX file with a ``ModelSpec`` inside (``None``: the shipped network; ``"fairface"``: the shipped
    one trained on FairFace alone). A ready ``backend`` takes its place in tests and needs its ``spec``. ``threads`` and
    ``runtime`` as in ``open_backend`` (``None``: the one that ``EDGEFACE_RUNTIME`` names); ``batch`` faces are run at a
    time. ``check_values`` refuses NaN and what is no probability; a comparison, which counts them, does without. A
    network need not have every head: what its spec does not name is NaN in all ``Attributes``.

    Raises ``SpecError`` where the file has no usable spec or lacks an output the spec promises, ``ArtifactError``
    where it is missing or damaged.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        backend: Backend | None = None,
        threads: int = 0,
        batch: int = 32,
        spec: ModelSpec | None = None,
        runtime: str | None = None,
        check_values: bool = True,
    ) -> None:
        if batch < 1:
            raise ConfigError(f"batch: expected 1 or more, found {batch}")
        where = "the backend"
        if backend is None:
            path = attribute_model(model)
            where = f"`{path}`"
            spec, backend = model_spec(path), open_backend(path, threads, runtime=runtime or wanted_runtime())
        if spec is None:
            raise ConfigError("a backend of your own needs its ModelSpec: pass spec=")
        self.spec, self.backend, self.batch = spec, backend, batch
        self._check_values = check_values
        self._heads = _heads_of(spec, backend, where)
        self._input = backend.inputs[0].name

    def __call__(self, image: Any, faces: Faces, colour: str = "RGB") -> Attributes:
        """Attributes of every one of ``faces`` (in ``image``'s pixels), in their order; ``image`` and ``colour`` as for
        ``FaceDetector``."""
        image = as_rgb(image, colour)
        if not len(faces):
            return Attributes.empty()
        return self.from_crops(align(image, landmarks_of(faces), self.spec.alignment, self.spec.input_size))

    def from_crops(self, crops: NDArray[np.uint8]) -> Attributes:
        """Attributes of aligned crops uint8 ``[N, S, S, 3]`` RGB, S being the spec's ``input_size``.

        Raises ``ImageError`` for another shape or dtype, ``ArtifactError`` for answers that the spec does not allow.
        """
        size = self.spec.input_size
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (size, size, 3):
            raise ImageError(f"crops: expected uint8 [N, {size}, {size}, 3], found {crops.dtype} {list(crops.shape)}")
        if not len(crops):
            return Attributes.empty()
        answers = [
            self.backend.infer({self._input: np.ascontiguousarray(crops[start : start + self.batch])})
            for start in range(0, len(crops), self.batch)
        ]
        given = {name: self._head(name, answers, len(crops)) for name in self._heads}
        return dataclasses.replace(Attributes.unknown(len(crops)), **given)

    def _head(self, name: str, answers: list[dict[str, NDArray[Any]]], count: int) -> NDArray[Any]:
        """One output of all batches."""
        head = self.spec.head(name)
        starts = range(0, count, self.batch)
        parts = [
            checked_head(head, answer[name], min(self.batch, count - start), self.spec.name, self._check_values)
            for start, answer in zip(starts, answers)
        ]
        return np.concatenate(parts)

    def close(self) -> None:
        self.backend.close()

    def __enter__(self) -> AttributeEstimator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _heads_of(spec: ModelSpec, backend: Backend, where: str) -> tuple[str, ...]:
    """The outputs to read: those that the spec names, as far as edgeface knows them. Raises ``SpecError``."""
    heads = tuple(head.name for head in spec.heads if head.name in _HEADS)
    if not heads:
        raise SpecError(f"{where} has no head that edgeface knows, expected some of {', '.join(_HEADS)}")
    outputs = [info.name for info in backend.outputs]
    if len(backend.inputs) != 1 or not set(heads) <= set(outputs):
        found = f"inputs {[info.name for info in backend.inputs]} and outputs {outputs}"
        raise SpecError(f"{where} has {found}, expected one input and {', '.join(heads)}; export the model again")
    return heads


def landmarks_of(faces: Faces) -> Floats:
    """Landmarks float32 ``[N, 5, 2]`` in pixels to align by: the detector's, or a frontal face's put into the box.

    The stand-in also serves where a detector's points coincide, which no similarity can map.
    """
    corners, sizes = faces.boxes[:, None, :2], faces.boxes[:, None, 2:] - faces.boxes[:, None, :2]
    stand_in = corners + np.asarray(LANDMARKS_IN_BOX, np.float32) * sizes
    usable = np.isfinite(faces.landmarks).all(axis=(1, 2)) & (np.ptp(faces.landmarks, axis=1).max(axis=-1) > 1e-3)
    return np.where(usable[:, None, None], faces.landmarks, stand_in).astype(np.float32)
