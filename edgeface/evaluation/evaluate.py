"""How good an attribute network is on labelled faces: the figures of ``edgeface evaluate``.

The way to the answer is the one that users take: decode, detect, align (``labelled``), infer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import DataError
from edgeface.evaluation import metrics, reliability
from edgeface.evaluation.datasets import FaceSet
from edgeface.evaluation.labelled_crops import Crop, Progress, cut_crops, labels_of, skipped_names
from edgeface.evaluation.precropped import Detector
from edgeface.spec.model import GENDERS, RACES, ModelSpec
from edgeface.types import Attributes


class Estimator(Protocol):
    """What is judged; ``inference.attributes.AttributeEstimator`` is one."""

    @property
    def spec(self) -> ModelSpec: ...

    def from_crops(self, crops: NDArray[np.uint8]) -> Attributes: ...


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Labels, answers and full ``attributes`` of every image that could be read, one row a face.

    ``missed_detections`` counts the faces that were cut as a centre square because the detector found none;
    ``unreadable`` and ``skipped`` name the images left out: broken files and malformed labels, with the reason.
    """

    labels: metrics.Labels
    attributes: Attributes
    missed_detections: int
    unreadable: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def answers(self) -> metrics.Answers:
        return metrics.Answers.of(self.attributes)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the data's figures, then the groups'; accuracies are fractions, a figure of no face is ``None``."""
        answers, labels, said = self.answers, self.labels, self.attributes
        summary = metrics.summary(answers, labels)
        figures = {
            "n": summary.pop("n"),
            "missed_detections": self.missed_detections,
            **summary,
            "age_coverage90": reliability.age_coverage(said.age, said.age_std, labels.age),
            "gender_calibration_error": reliability.calibration_error(said.gender, labels.gender),
            "race_calibration_error": reliability.calibration_error(said.race, labels.race),
            "gender_recalls": self._recalls(answers.gender, labels.gender, GENDERS),
            "race_recalls": self._recalls(answers.race, labels.race, RACES),
            "gender_predicted": _counts(answers.gender, GENDERS),
            "race_predicted": _counts(answers.race, RACES),
            "unreadable": list(self.unreadable),
            "skipped": list(self.skipped),
            "groups": metrics.groups(answers, labels),
        }
        return {name: _without_nan(figure) for name, figure in figures.items()}

    @staticmethod
    def _recalls(predicted: NDArray[Any], label: NDArray[Any], names: Sequence[str]) -> dict[str, float]:
        return dict(zip(names, metrics.recalls(predicted, label, len(names))))


def evaluate(
    estimator: Estimator,
    data: Sequence[FaceSet],
    detector: Detector | None = None,
    batch: int = 64,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge ``estimator`` on every image of ``data``.

    Crops are cut with ``detector``'s landmarks, or as centre squares without one, and answered ``batch`` at a time;
    cutting uses every core. An image that cannot be decoded is listed in ``unreadable``. Raises ``DataError`` where
    a folder or zip cannot be read or no image is left.
    """
    total = sum(len(faces.faces) for faces in data)
    crops: list[Crop] = []
    answers = [Attributes.empty()]
    for part in cut_crops(data, estimator.spec, detector, batch):
        pixels = [crop.pixels for crop in part if crop.pixels is not None]
        if pixels:
            answers.append(estimator.from_crops(np.stack(pixels)))
        crops += [crop._replace(pixels=None) for crop in part]  # only a batch of them is held in memory
        if progress:
            progress(len(crops), total)
    used = [crop.face for crop in crops if not crop.fault]
    if not used:
        raise DataError(f"no image to evaluate on: {crops[0].fault if crops else 'the data are empty'}")
    return Evaluation(
        labels_of(used),
        Attributes(*(np.concatenate([getattr(part, item.name) for part in answers]) for item in fields(Attributes))),
        sum(not crop.found for crop in crops if not crop.fault),
        tuple(crop.fault for crop in crops if crop.fault),
        skipped_names(data),
    )


def _counts(predicted: NDArray[Any], names: Sequence[str]) -> dict[str, int]:
    counts = Counter(predicted.tolist())
    return {name: counts[code] for code, name in enumerate(names)}


def _without_nan(value: Any) -> Any:
    """NaN is no JSON: ``None`` in its place."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
