"""The labelled faces that artefacts are judged on, cut once for every kind of crop that is asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeface.errors import DataError
from edgeface.evaluation.datasets import FOLDS, FaceSet, find_faces, in_folds
from edgeface.evaluation.labelled_crops import LabelledCrops, Progress, labelled_crops, thinned
from edgeface.evaluation.precropped import Detector
from edgeface.spec.model import AlignmentSpec, ModelSpec
from trainer.data.manifest import open_manifest

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
        """What the crops were made of: faces, those the detector missed, images left out."""
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
    """Data sets, judged apart and each thinned to ``limit`` images: folders and zips with a label file in FairFace's
    form (``labels``, or a folder's own ``labels.csv``), those whose names are UTKFace's, and every CSV manifest.

    Raises ``DataError`` where one has no usable image of ``folds`` (``None``: all).
    """
    groups: dict[Path | None, list[Path]] = {}
    named: list[tuple[str, Sequence[FaceSet]]] = []
    for place in places:
        if place.suffix.lower() == ".csv":
            named.append((place.stem, _manifest(place, folds)))
            continue
        own = place / LABEL_FILE
        groups.setdefault(labels or (own if own.is_file() else None), []).append(place)
    named += [(members[0].stem, find_faces(members, form, folds)) for form, members in groups.items()]
    return [JudgedSet(name, found if limit is None else thinned(found, limit)) for name, found in named]


def _manifest(path: Path, folds: Collection[int] | None) -> list[FaceSet]:
    """A manifest's images of ``folds``."""
    wanted = range(FOLDS) if folds is None else folds
    found = [replace(item, faces=in_folds(item.faces, wanted)) for item in open_manifest(path)]
    if not any(item.faces for item in found):
        raise DataError(f"no image of fold {', '.join(map(str, sorted(wanted)))} in `{path}`")
    return found
