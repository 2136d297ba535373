"""The labelled faces that artefacts are judged on, cut once for every kind of crop that is asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeface.datasets import FaceSet, find_faces
from edgeface.labelled import LabelledCrops, Progress, labelled_crops, thinned
from edgeface.pipeline.chips import Detector
from edgeface.spec import AlignmentSpec, ModelSpec

LABEL_FILE = "labels.csv"


@dataclass
class JudgedSet:
    """One data set under a ``name``; its crops stay in memory by alignment and size, so that artefacts share them."""

    name: str
    faces: Sequence[FaceSet]
    _cut: dict[tuple[AlignmentSpec, int], LabelledCrops] = field(default_factory=dict)

    def crops(self, spec: ModelSpec, detector: Detector | None, progress: Progress | None = None) -> LabelledCrops:
        """Crops as an artefact with ``spec`` wants them; ``detector`` ``None`` cuts centre squares."""
        key = (spec.alignment, spec.input_size)
        if key not in self._cut:
            self._cut[key] = labelled_crops(self.faces, spec, detector, progress)
        return self._cut[key]

    def about(self, spec: ModelSpec, detector: Detector | None) -> dict[str, Any]:
        """What the crops were made of: faces, those the detector missed, pictures left out."""
        cut = self.crops(spec, detector)
        missed = int((~cut.found).sum())
        return {
            "n": len(cut),
            "missed_detections": missed,
            "unreadable": list(cut.unreadable),
            "skipped": list(cut.skipped),
        }


def find_sets(
    places: Sequence[Path], labels: Path | None = None, folds: Collection[int] | None = None, limit: int | None = None
) -> list[JudgedSet]:
    """Data sets in folders and zips: those with a label file in FairFace's form (``labels``, or a folder's own
    ``labels.csv``) and those whose names are UTKFace's are judged apart, each thinned to ``limit`` pictures.

    Raises ``DataError`` where one has no usable picture of ``folds`` (``None``: all).
    """
    groups: dict[Path | None, list[Path]] = {}
    for place in places:
        own = place / LABEL_FILE
        groups.setdefault(labels or (own if own.is_file() else None), []).append(place)
    return [
        JudgedSet(members[0].stem, found if limit is None else thinned(found, limit))
        for form, members in groups.items()
        for found in [find_faces(members, form, folds)]
    ]
