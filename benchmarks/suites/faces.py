"""Real faces to compare answers on, and images of several people made from the two portraits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeface.evaluation.datasets import find_faces
from edgeface.evaluation.labelled_crops import labelled_crops, pictures, thinned
from edgeface.evaluation.precropped import pad_edges
from edgeface.imaging.image_io import decode_image
from edgeface.imaging.portraits import portraits
from edgeface.imaging.preprocess import align
from edgeface.inference.attributes import landmarks_of
from edgeface.inference.detector import FaceDetector, shipped_model
from edgeface.spec.metadata import model_spec
from edgeface.spec.model import GENDERS, ModelSpec
from edgeface.types import Image

HELD_OUT_FOLD = 1
_FACE_BOXES = {"eileen-collins": (179, 83, 266, 170), "grace-hopper": (161, 137, 376, 352)}
"""Where the face is in each portrait, xyxy in its pixels: a detection whose centre lies inside is right."""


@dataclass(frozen=True, eq=False)
class RealFaces:
    """Aligned crops uint8 ``[N, S, S, 3]`` RGB for the shipped network, and where they come from."""

    crops: NDArray[np.uint8]
    source: str


def real_faces(utkface: Path, limit: int) -> RealFaces:
    """The portraits' crops and, where ``utkface`` exists, faces of its held-out fold, up to ``limit``."""
    spec = model_spec(shipped_model("attributes.onnx"))
    with FaceDetector(threads=1) as detector:
        own = portrait_crops(detector, spec)
        if not utkface.is_dir():
            return RealFaces(own, f"{len(own)} portraits")
        data = thinned(find_faces([utkface], folds={HELD_OUT_FOLD}), limit - len(own))
        found = labelled_crops(data, spec, detector)
    source = f"{len(own)} portraits, {len(found)} of UTKFace fold {HELD_OUT_FOLD}"
    return RealFaces(np.concatenate([own, found.pixels]), source)


class LabelledPicture(NamedTuple):
    """A chip with a border, uint8 ``[H, W, 3]`` RGB, its face's age in years and gender ("male", "female")."""

    pixels: Image
    age: float
    gender: str


def labelled_pictures(utkface: Path, limit: int) -> list[LabelledPicture]:
    """Up to ``limit`` images of UTKFace's held-out fold, evenly spread; none where ``utkface`` does not exist."""
    if not utkface.is_dir():
        return []
    data = thinned(find_faces([utkface], folds={HELD_OUT_FOLD}), limit)
    return [
        LabelledPicture(pad_edges(decode_image(raw, face.name)), face.age, GENDERS[face.gender])
        for face, raw in pictures(data)
    ]


def portrait_crops(detector: FaceDetector, spec: ModelSpec) -> NDArray[np.uint8]:
    """The best face of each portrait, aligned."""
    crops = [
        align(picture, landmarks_of(detector(picture))[:1], spec.alignment, spec.input_size)
        for picture in portraits().values()
    ]
    return np.concatenate(crops)


def agreement(
    spec: ModelSpec, wanted: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]
) -> dict[str, float | int | bool]:
    """How far answers differ: the largest difference in years, faces with another gender and race, and whether all
    heads are within the tolerances that the spec promises of an export."""
    answers = {name: np.asarray(found[name]).reshape(values.shape) for name, values in wanted.items()}
    apart = {name: float(np.abs(values - answers[name]).max()) for name, values in wanted.items()}
    flips = {
        name: int((wanted[name].argmax(1) != answers[name].argmax(1)).sum())
        for name in ("gender", "race")
        if name in wanted
    }
    return {
        "faces": len(next(iter(wanted.values()))),
        "age_max_years": float(f"{apart.get('age', 0.0):.2g}"),
        "gender_differs": flips.get("gender", 0),
        "race_differs": flips.get("race", 0),
        "same": all(apart[head.name] <= head.tolerance for head in spec.heads if head.name in apart),
    }


@dataclass(frozen=True, eq=False)
class Crowd:
    """An image of portraits in a grid, uint8 ``[H, W, 3]`` RGB, and each face's box xyxy in its pixels."""

    picture: Image
    boxes: NDArray[np.float64]

    def found(self, boxes: NDArray[Any]) -> tuple[int, int]:
        """How many of the faces these detections (xyxy) find, and how many detections are on none."""
        centres = (np.asarray(boxes, np.float64).reshape(-1, 4)[:, :2] + np.asarray(boxes).reshape(-1, 4)[:, 2:]) / 2
        inside = (centres[:, None] >= self.boxes[None, :, :2]) & (centres[:, None] <= self.boxes[None, :, 2:])
        hits = inside.all(axis=2)
        return int(hits.any(axis=0).sum()), int((~hits.any(axis=1)).sum())


def crowd(columns: int, rows: int, width: int, height: int) -> Crowd:
    """``columns`` × ``rows`` portraits in an image of ``width`` × ``height`` pixels."""
    import cv2

    cell_width, cell_height = width // columns, height // rows
    picture = np.full((height, width, 3), 127, np.uint8)
    boxes, people = [], list(portraits().items())
    for number in range(columns * rows):
        name, portrait = people[number % len(people)]
        scale = min(cell_width / portrait.shape[1], cell_height / portrait.shape[0])
        part = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        left, top = number % columns * cell_width, number // columns * cell_height
        picture[top : top + part.shape[0], left : left + part.shape[1]] = part[: height - top, : width - left]
        boxes.append(np.array(_FACE_BOXES[name]) * scale + np.tile([left, top], 2))
    return Crowd(picture, np.array(boxes))
