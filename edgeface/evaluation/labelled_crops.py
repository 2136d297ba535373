"""Crops of labelled faces, cut as ``edgeface run`` would: what evaluation, calibration and parity look at.

A data set's image is a chip cut around one face, so it is framed before detection (``evaluation.precropped``); where
the detector misses, its centre square stands in and the miss is counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import DataError, ImageError
from edgeface.evaluation.datasets import FaceSet, LabelledFace
from edgeface.evaluation.metrics import Labels
from edgeface.evaluation.precropped import Detector, chip_crop
from edgeface.imaging.image_io import decode_image
from edgeface.imaging.preprocess import centre_crop, stack
from edgeface.spec.model import ModelSpec

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""


class Crop(NamedTuple):
    """An image's crop uint8 ``[S, S, 3]`` RGB and whether the detector found its face; or the ``fault`` that
    kept it from being cut."""

    face: LabelledFace
    pixels: NDArray[np.uint8] | None
    found: bool
    fault: str


@dataclass(frozen=True, eq=False)
class LabelledCrops:
    """Every image that could be read, one row a face, and those that could not.

    ``pixels`` uint8 ``[N, S, S, 3]`` RGB; ``names`` inside their data set; ``found`` bool ``[N]``: False where the
    detector found no face, so that the crop is a centre square. ``unreadable`` and ``skipped`` name the images left
    out: broken files and malformed labels, with the reason.
    """

    pixels: NDArray[np.uint8]
    labels: Labels
    names: tuple[str, ...]
    found: NDArray[np.bool_]
    unreadable: tuple[str, ...]
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)


def labelled_crops(
    data: Sequence[FaceSet],
    spec: ModelSpec,
    detector: Detector | None = None,
    progress: Progress | None = None,
    batch: int = 64,
) -> LabelledCrops:
    """The crops of all ``data`` in memory, with their labels; ``detector`` ``None`` cuts centre squares.

    Raises ``DataError`` where a folder or zip cannot be read or no image is left.
    """
    total = sum(len(faces.faces) for faces in data)
    crops: list[Crop] = []
    for part in cut_crops(data, spec, detector, batch):
        crops += part
        if progress:
            progress(len(crops), total)
    used = [crop for crop in crops if not crop.fault]
    if not used:
        raise DataError(f"no image to work with: {crops[0].fault if crops else 'the data are empty'}")
    return LabelledCrops(
        stack([crop.pixels for crop in used if crop.pixels is not None], spec.input_size),
        labels_of(crop.face for crop in used),
        tuple(crop.face.name for crop in used),
        np.array([crop.found for crop in used], bool),
        tuple(crop.fault for crop in crops if crop.fault),
        skipped_names(data),
    )


def cut_crops(data: Sequence[FaceSet], spec: ModelSpec, detector: Detector | None, batch: int) -> Iterator[list[Crop]]:
    """Crops in the data's order, in lists of ``batch``, so that no more need be held in memory.

    Cutting uses every core; threads are enough, since decoding and detection run outside Python's lock.
    """

    def cut(item: tuple[LabelledFace, bytes]) -> Crop:
        return cut_crop(*item, spec, detector)

    stream = pictures(data)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        while part := list(islice(stream, batch)):
            yield list(pool.map(cut, part))


def cut_crop(face: LabelledFace, raw: bytes, spec: ModelSpec, detector: Detector | None) -> Crop:
    """The crop of one image's bytes."""
    try:
        image = decode_image(raw, face.name)
    except ImageError as error:
        return Crop(face, None, False, str(error))
    if detector is None:
        return Crop(face, centre_crop(image, spec.input_size), True, "")
    return Crop(face, *chip_crop(detector, image, spec.alignment, spec.input_size), "")


def labels_of(faces: Iterable[LabelledFace]) -> Labels:
    """The labels of ``faces``, one row a face."""
    rows = list(faces)
    return Labels(
        np.array([face.age for face in rows], np.float64),
        np.array([face.interval for face in rows], np.int64),
        np.array([face.gender for face in rows], np.int64),
        np.array([face.race for face in rows], np.int64),
    )


def skipped_names(data: Sequence[FaceSet]) -> tuple[str, ...]:
    """The images without a usable label, each as "name (reason)"."""
    return tuple(name for faces in data for name in faces.skipped)


def thinned(data: Sequence[FaceSet], limit: int) -> list[FaceSet]:
    """At most ``limit`` images, spread evenly over all, so that a quick look stays a fair one."""
    total = sum(len(faces.faces) for faces in data)
    keep = {row * total // limit for row in range(limit)} if limit < total else set(range(total))
    out, start = [], 0
    for faces in data:
        chosen = tuple(face for row, face in enumerate(faces.faces, start) if row in keep)
        out.append(replace(faces, faces=chosen))
        start += len(faces.faces)
    return out


def pictures(data: Sequence[FaceSet]) -> Iterator[tuple[LabelledFace, bytes]]:
    """Every face with the bytes of its image's file, in the data's order."""
    for faces in data:
        yield from zip(faces.faces, faces.read(face.name for face in faces.faces))
