"""Who judges a candidate of ``edgeface build-engine``: one judge for attribute networks, one for face detectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgeface.spec.metadata import model_spec
from edgeface.build.request import ResolvedBuild, BuildRequest
from edgeface.build.steps import Reporter
from edgeface.evaluation.datasets import FaceSet, find_faces
from edgeface.imaging.image_io import decode_image, write_image
from edgeface.evaluation.labelled_crops import LabelledCrops, labelled_crops, pictures, thinned
from edgeface.parity import Budget, CandidateParity, compare, failures, read_budget
from edgeface.parity.detector_parity import compare_detectors, detector_failures
from edgeface.evaluation.precropped import pad_edges
from edgeface.inference.detector import FaceDetector
from edgeface.runtime.base import REFERENCE_RUNTIME
from edgeface.spec.model import MODEL_KEY

_DETECTOR_PICTURES = 500
"""Images of a fold that detectors are compared on, unless the order has a limit."""


@dataclass(frozen=True)
class Verdict:
    """A sentence for each broken bound, the share of the tightest budget of answers that is used up (more than 1 is too
    much), and the figures for the passport."""

    failures: tuple[str, ...]
    share: float
    figures: Mapping[str, Any]


class Evaluator(Protocol):
    def __call__(self, candidate: Path, fold: int, latency_s: float) -> Verdict:
        """``candidate`` against the float model on the faces of ``fold``; both timed for ``latency_s`` seconds each."""
        ...


def read_gate(order: BuildRequest) -> Budget:
    """The budget an order is judged by."""
    return read_budget(order.gate) if isinstance(order.gate, Path) else Budget()


def evaluator_of(job: ResolvedBuild, folder: Path, say: Reporter) -> Evaluator:
    """The judge for the kind of model that ``job`` builds; it may keep images in ``folder``."""
    budget = read_gate(job.order)
    return AttributeEvaluator(job, budget, say) if MODEL_KEY in job.metadata else DetectorEvaluator(job, budget, say, folder)


class AttributeEvaluator:
    """Compares answers on labelled crops, which are cut once for each fold."""

    def __init__(self, job: ResolvedBuild, budget: Budget, say: Reporter) -> None:
        self._order, self._budget, self._say = job.order, budget, say
        self._crops: dict[int, LabelledCrops] = {}

    def __call__(self, candidate: Path, fold: int, latency_s: float) -> Verdict:
        crops, faces = self._crops_of(fold), self._budget.group_faces
        report = compare(self._order.model, [candidate], crops, latency_s=latency_s, group_faces=faces)
        plain = report.to_dict()
        (found,) = plain["candidates"]
        kept = ("heads", "changes", "worst_group", "speedup", "simulated", "not_finite")
        judged = len({(group.axis, group.group) for group in report.candidates[0].groups})
        figures = {
            "faces": plain["faces"],
            "groups_judged": judged,
            **{name: found[name] for name in kept},
            "bench": plain["bench"],
        }
        share = max(_shares(report.candidates[0], self._budget), default=0.0)
        return Verdict(tuple(failures(report, self._budget)), share, figures)

    def _crops_of(self, fold: int) -> LabelledCrops:
        if fold not in self._crops:
            faces = _faces(self._order, fold, self._order.limit)
            detector = FaceDetector(threads=1, runtime=REFERENCE_RUNTIME)
            with detector, self._say.progress(f"cutting crops of fold {fold}") as report:
                self._crops[fold] = labelled_crops(faces, model_spec(self._order.model), detector, report)
        return self._crops[fold]


class DetectorEvaluator:
    """Compares found faces on framed images, which are written once for each fold."""

    def __init__(self, job: ResolvedBuild, budget: Budget, say: Reporter, folder: Path) -> None:
        self._order, self._budget, self._say, self._folder = job.order, budget, say, folder

    def __call__(self, candidate: Path, fold: int, latency_s: float) -> Verdict:
        place = self._pictures_of(fold)
        with self._say.progress(f"comparing detectors on fold {fold}") as steps:
            report = compare_detectors(self._order.model, [candidate], [place], latency_s=latency_s, progress=steps)
        plain, (item,), budget = report.to_dict(), report.candidates, self._budget
        (found,) = plain["candidates"]
        kept = ("recall", "precision", "drift_p50", "drift_p99", "found", "missed", "extra", "speedup", "simulated")
        figures = {
            "faces": plain["faces"],
            "pictures": plain["pictures"],
            **{name: found[name] for name in kept},
            "bench": plain["bench"],
        }
        shares = (
            _share(1 - item.recall.fraction, 1 - budget.detector_recall),
            _share(1 - item.precision.fraction, 1 - budget.detector_precision),
        )
        return Verdict(tuple(detector_failures(report, budget)), max(shares), figures)

    def _pictures_of(self, fold: int) -> Path:
        place = self._folder / f"fold{fold}"
        if not place.is_dir():
            place.mkdir()
            faces = _faces(self._order, fold, self._order.limit or _DETECTOR_PICTURES)
            for number, (face, raw) in enumerate(pictures(faces)):
                write_image(place / f"{number:05}.jpg", pad_edges(decode_image(raw, face.name)))
        return place


def _faces(order: BuildRequest, fold: int, limit: int | None) -> list[FaceSet]:
    faces = find_faces(order.data, order.labels, {fold})
    return list(faces) if limit is None else thinned(faces, limit)


def _shares(candidate: CandidateParity, budget: Budget) -> Iterator[float]:
    if candidate.not_finite:
        yield float("inf")
    for item in candidate.heads:
        yield _share(item.loss.mean, budget.age_mae_years if item.unit == "years" else budget.accuracy_points)
    for change in candidate.changes:
        yield _share(change.flips or 0.0, budget.flips)
        if change.output == "age":
            yield _share(change.p50, budget.age_change_years)
    for unit, allowed in (("points", budget.group_points), ("years", budget.group_age_years)):
        worst = candidate.worst(unit)
        if worst is not None:
            yield _share(worst.loss.low, allowed)


def _share(loss: float, allowed: float) -> float:
    """Of what is ``allowed``; NaN (nothing was found) is no gain but all that can be lost."""
    if loss <= 0:
        return 0.0
    return loss / allowed if loss > 0 and allowed > 0 else float("inf")
