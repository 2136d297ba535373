"""How good an attribute network is on labelled faces: the figures of ``edgeface evaluate``.

The way to the answer is the one that users take: decode, detect, align, infer. A data set's picture is a chip cut
around one face, so it is framed before detection (``pipeline.chips``); where the detector misses, its centre square
stands in and the miss is counted.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeface import metrics
from edgeface.datasets import FaceSet, LabelledFace
from edgeface.errors import DataError, ImageError
from edgeface.images import decode_image
from edgeface.pipeline.chips import Detector, chip_crop
from edgeface.preprocess import centre_crop
from edgeface.spec import GENDERS, RACES, ModelSpec
from edgeface.types import Attributes

Progress = Callable[[int, int], None]
"""Called with the number of pictures done and the number of all."""


class Estimator(Protocol):
    """What is judged; ``pipeline.attributes.AttributeEstimator`` is one."""

    @property
    def spec(self) -> ModelSpec: ...

    def from_crops(self, crops: NDArray[np.uint8]) -> Attributes: ...


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Labels and answers of every picture that could be read, one row a face.

    ``missed_detections`` counts the faces that were cut as a centre square because the detector found none;
    ``unreadable`` and ``skipped`` name the pictures left out: broken files and malformed labels, with the reason.
    """

    labels: metrics.Labels
    answers: metrics.Answers
    missed_detections: int
    unreadable: tuple[str, ...]
    skipped: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the data's figures, then the groups'; accuracies are fractions, a figure of no face is ``None``."""
        summary = metrics.summary(self.answers, self.labels)
        figures = {
            "n": summary.pop("n"),
            "missed_detections": self.missed_detections,
            **summary,
            "gender_recalls": self._recalls(self.answers.gender, self.labels.gender, GENDERS),
            "race_recalls": self._recalls(self.answers.race, self.labels.race, RACES),
            "gender_predicted": _counts(self.answers.gender, GENDERS),
            "race_predicted": _counts(self.answers.race, RACES),
            "unreadable": list(self.unreadable),
            "skipped": list(self.skipped),
            "groups": metrics.groups(self.answers, self.labels),
        }
        return {name: _without_nan(figure) for name, figure in figures.items()}

    @staticmethod
    def _recalls(predicted: NDArray[Any], label: NDArray[Any], names: Sequence[str]) -> dict[str, float]:
        return dict(zip(names, metrics.recalls(predicted, label, len(names))))


class _Crop(NamedTuple):
    """A picture's crop, or why there is none."""

    face: LabelledFace
    pixels: NDArray[np.uint8] | None
    found: bool
    fault: str


def evaluate(
    estimator: Estimator,
    data: Sequence[FaceSet],
    detector: Detector | None = None,
    batch: int = 64,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge ``estimator`` on every picture of ``data``.

    Crops are cut with ``detector``'s landmarks, or as centre squares without one, and answered ``batch`` at a time;
    cutting uses every core. A picture that cannot be decoded is listed in ``unreadable``. Raises ``DataError`` where
    a folder or zip cannot be read or no picture is left.
    """
    total = sum(len(faces.faces) for faces in data)
    crops: list[_Crop] = []
    answers = [Attributes.empty()]
    for part in _cut(data, estimator.spec, detector, batch):
        pixels = [crop.pixels for crop in part if crop.pixels is not None]
        if pixels:
            answers.append(estimator.from_crops(np.stack(pixels)))
        crops += [crop._replace(pixels=None) for crop in part]  # only a batch of them is held in memory
        if progress:
            progress(len(crops), total)
    used = [crop.face for crop in crops if not crop.fault]
    if not used:
        raise DataError(f"no picture to evaluate on: {crops[0].fault if crops else 'the data are empty'}")
    return Evaluation(
        _labels(used),
        _answers(answers),
        sum(not crop.found for crop in crops if not crop.fault),
        tuple(crop.fault for crop in crops if crop.fault),
        tuple(name for faces in data for name in faces.skipped),
    )


def thinned(data: Sequence[FaceSet], limit: int) -> list[FaceSet]:
    """At most ``limit`` pictures, spread evenly over all, so that a quick look stays a fair one."""
    total = sum(len(faces.faces) for faces in data)
    keep = {row * total // limit for row in range(limit)} if limit < total else set(range(total))
    out, start = [], 0
    for faces in data:
        chosen = tuple(face for row, face in enumerate(faces.faces, start) if row in keep)
        out.append(replace(faces, faces=chosen))
        start += len(faces.faces)
    return out


def _cut(data: Sequence[FaceSet], spec: ModelSpec, detector: Detector | None, batch: int) -> Iterator[list[_Crop]]:
    """Crops in lists of ``batch``. Threads are enough: decoding and detection run outside Python's lock."""

    def cut(item: tuple[LabelledFace, bytes]) -> _Crop:
        return _crop(*item, spec, detector)

    pictures = _pictures(data)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        while part := list(islice(pictures, batch)):
            yield list(pool.map(cut, part))


def _pictures(data: Sequence[FaceSet]) -> Iterator[tuple[LabelledFace, bytes]]:
    for faces in data:
        yield from zip(faces.faces, faces.read(face.name for face in faces.faces))


def _crop(face: LabelledFace, raw: bytes, spec: ModelSpec, detector: Detector | None) -> _Crop:
    try:
        image = decode_image(raw, face.name)
    except ImageError as error:
        return _Crop(face, None, False, str(error))
    if detector is None:
        return _Crop(face, centre_crop(image, spec.input_size), True, "")
    return _Crop(face, *chip_crop(detector, image, spec.alignment, spec.input_size), "")


def _labels(faces: Sequence[LabelledFace]) -> metrics.Labels:
    return metrics.Labels(
        np.array([face.age for face in faces], np.float64),
        np.array([face.interval for face in faces], np.int64),
        np.array([face.gender for face in faces], np.int64),
        np.array([face.race for face in faces], np.int64),
    )


def _answers(parts: Sequence[Attributes]) -> metrics.Answers:
    return metrics.Answers(
        np.concatenate([part.age for part in parts]),
        np.concatenate([part.gender for part in parts]).argmax(axis=1),
        np.concatenate([part.race for part in parts]).argmax(axis=1),
    )


def _counts(predicted: NDArray[Any], names: Sequence[str]) -> dict[str, int]:
    counts = Counter(predicted.tolist())
    return {name: counts[code] for code, name in enumerate(names)}


def _without_nan(value: Any) -> Any:
    """NaN is no JSON: ``None`` in its place."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
