"""The crops of a calibration set: what the network sees while its ranges are taken."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from edgeface.calibration.check import verified_pictures
from edgeface.calibration.images import Picture
from edgeface.calibration.set_file import CalibrationSet
from edgeface.errors import CalibrationError
from edgeface.evaluation.datasets import FaceSet
from edgeface.evaluation.labelled_crops import Crop, Progress, cut_crop
from edgeface.evaluation.precropped import Detector
from edgeface.imaging.preprocess import stack
from edgeface.spec.model import ModelSpec

_FACES_FRAC = 0.9
"""Data sets of faces reach 0.98 and more; a set of noise or of landscapes has none."""


def calibration_crops(
    calibration: CalibrationSet,
    data: Sequence[FaceSet],
    spec: ModelSpec,
    detector: Detector | None,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """The set's crops uint8 ``[size, S, S, 3]`` RGB in its order, cut as ``edgeface run`` would.

    A face that the detector misses is cut as a centre square; so are all without a ``detector``. Raises
    ``CalibrationError`` where an image is missing, changed, held out or cannot be decoded, where the list was edited
    (never a shorter set), and where the ``detector`` finds too few faces: ranges of anything else are those of another
    network.
    """
    where = f"calibration set `{calibration.name}`"
    pictures = verified_pictures(calibration, data)

    def cut(picture: Picture) -> Crop:
        return cut_crop(picture.face, picture.raw, spec, detector)

    crops: list[NDArray[np.uint8]] = []
    found = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for crop in pool.map(cut, pictures):
            if crop.pixels is None:
                raise CalibrationError(f"{where}: {crop.fault}")
            crops.append(crop.pixels)
            found += crop.found
            if progress:
                progress(len(crops), len(pictures))
    if found < _FACES_FRAC * len(crops):
        raise CalibrationError(
            f"{where}: the detector finds a face in only {found} of its {len(crops)} images, expected "
            f"{_FACES_FRAC:.0%} or more; draw the set from images of faces: edgeface calibration make"
        )
    return stack(crops, spec.input_size)
