"""Face detectors side by side: the faces that the reference finds are the candidate's to find.

No labels are needed, so any images serve. Two boxes are the same face where their IoU is 0.5 or more; the best
overlap is matched first, one to one. Intervals draw images, not faces: the faces of one image belong together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.bench.model_speed import BenchReport, Speedup, bench
from edgeface.common.files import sha256_file
from edgeface.common.machine import fingerprint
from edgeface.errors import ConfigError, DataError
from edgeface.imaging.postprocess import iou_matrix
from edgeface.inference.detector import FaceDetector
from edgeface.parity.detector_images import Pictures
from edgeface.parity.gate import Budget, slow_faults
from edgeface.parity.report import rounded
from edgeface.parity.stats import CONFIDENCE, RESAMPLES
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import detector_spec
from edgeface.spec.precision import made_for_another, needs_simulation
from edgeface.types import Faces

SAME_FACE_IOU = 0.5
_INTERVAL = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
PathLike = str | os.PathLike[str]
Progress = Callable[[int, int | None], None]
_Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """A fraction of faces and its 95 % interval; NaN where there is no face."""

    fraction: float
    low: float
    high: float


@dataclass(frozen=True)
class DetectorParity:
    """A candidate against the reference.

    ``recall``: the share of the reference's faces that it finds; ``precision``: the share of its own that are the
    reference's. ``drift_p50`` and ``drift_p99``: how far the landmarks of a face lie from the reference's, on average
    over the five, as a fraction of the reference's distance between the eyes. ``elsewhere``: as in ``CandidateParity``.
    """

    path: str
    sha256: str
    simulated: bool
    elsewhere: bool
    found: int
    missed: int
    extra: int
    recall: Share
    precision: Share
    drift_p50: float
    drift_p99: float
    speedup: Speedup | None = None


@dataclass(frozen=True, eq=False)
class DetectorReport:
    """All candidates against one reference on the same images."""

    reference: str
    reference_sha256: str
    pictures: int
    faces: int
    unreadable: tuple[str, ...]
    seed: int
    candidates: tuple[DetectorParity, ...]
    bench: BenchReport | None
    machine: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; a figure that does not exist is ``None``."""
        candidates = []
        for item in self.candidates:
            speedup = item.speedup and {**item.speedup._asdict(), "verdict": item.speedup.verdict}
            candidates.append({**asdict(item), "speedup": speedup})
        rows = None if self.bench is None else self.bench.to_dict()["rows"]
        names = ("reference", "reference_sha256", "pictures", "faces", "unreadable", "seed", "machine")
        plain = {**{name: getattr(self, name) for name in names}, "candidates": candidates, "bench": rows}
        return {name: rounded(value) for name, value in plain.items()}


def compare_detectors(
    reference: PathLike,
    candidates: Sequence[PathLike],
    places: Sequence[PathLike],
    limit: int | None = None,
    seed: int = 0,
    latency_s: float = 2.0,
    threads: int = 0,
    progress: Progress | None = None,
) -> DetectorReport:
    """Judge all ``candidates`` against ``reference`` on the images of ``places`` (``pictures.Pictures``).

    ``latency_s`` seconds are spent timing each artefact that was made for this machine (0: none). Raises
    ``ArtifactError`` for a file that is no face detector, ``DataError`` where there is no image, or no face on any.
    """
    paths = [Path(path) for path in (reference, *candidates)]
    if len(paths) < 2:
        raise ConfigError("no candidate to compare: name one or more detectors after the reference")
    pictures = Pictures(places, limit)
    found: list[list[Faces]] = [[] for _ in paths]
    with ExitStack() as stack:
        detectors = [stack.enter_context(_open(path, threads)) for path in paths]
        for done, image in enumerate(pictures, 1):
            for faces, detector in zip(found, detectors):
                faces.append(detector(image))
            if progress:
                progress(done, pictures.count)
    if not sum(map(len, found[0])):
        raise DataError(f"`{reference}` finds no face in {len(found[0])} images, so nothing can be judged")
    timed = _timed(paths, latency_s)
    return DetectorReport(
        reference=str(reference),
        reference_sha256=sha256_file(reference),
        pictures=len(found[0]),
        faces=sum(map(len, found[0])),
        unreadable=tuple(pictures.unreadable),
        seed=seed,
        candidates=tuple(_judged(path, found[0], faces, seed, timed) for path, faces in zip(paths[1:], found[1:])),
        bench=timed,
        machine=fingerprint(),
    )


def detector_failures(report: DetectorReport, budget: Budget | None = None) -> list[str]:
    """One sentence for every broken bound, none where every candidate keeps the ``budget`` (``None``: the default)."""
    budget = budget or Budget()
    return [f"`{item.path}`: {fault}" for item in report.candidates for fault in _faults(item, report, budget)]


def _faults(item: DetectorParity, report: DetectorReport, budget: Budget) -> Iterator[str]:
    if not item.recall.fraction >= budget.detector_recall:
        yield (
            f"it misses {item.missed} of the reference's {report.faces} faces: recall {item.recall.fraction:.2%} "
            f"(95 % interval {item.recall.low:.2%} to {item.recall.high:.2%}), allowed are "
            f"{budget.detector_recall:.2%} or more"
        )
    if item.precision.fraction < budget.detector_precision:
        yield (
            f"{item.extra} of its {item.found} faces are none of the reference's: precision "
            f"{item.precision.fraction:.2%}, allowed are {budget.detector_precision:.2%} or more"
        )
    if budget.latency and item.speedup is not None:
        yield from slow_faults(report.reference, item.speedup)


def matches(reference: Faces, candidate: Faces) -> list[tuple[int, int]]:
    """Pairs of rows that are the same face, the best overlap first."""
    overlap, pairs = iou_matrix(reference.boxes, candidate.boxes), []
    while overlap.size and overlap.max() >= SAME_FACE_IOU:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        pairs.append((int(row), int(column)))
        overlap[row], overlap[:, column] = -1, -1
    return pairs


def _judged(
    path: Path, reference: Sequence[Faces], candidate: Sequence[Faces], seed: int, timed: BenchReport | None
) -> DetectorParity:
    pairs = [matches(before, after) for before, after in zip(reference, candidate)]
    same = np.array([len(pair) for pair in pairs])
    wanted, found = (np.array([len(faces) for faces in answers]) for answers in (reference, candidate))
    drifts = np.array([_drift(b, a, *pair) for b, a, some in zip(reference, candidate, pairs) for pair in some])
    drifts = drifts[np.isfinite(drifts)]
    p50, p99 = (float(value) for value in np.percentile(drifts, [50, 99])) if drifts.size else (math.nan, math.nan)
    rows = [row for row in timed.rows[1:] if row.artefact == str(path)] if timed else []
    return DetectorParity(
        path=str(path),
        sha256=sha256_file(path),
        simulated=needs_simulation(detector_spec(path)),
        elsewhere=made_for_another(path, detector_spec(path)),
        found=int(found.sum()),
        missed=int((wanted - same).sum()),
        extra=int((found - same).sum()),
        recall=_share(same, wanted, seed),
        precision=_share(same, found, seed),
        drift_p50=p50,
        drift_p99=p99,
        speedup=timed.speedup(rows[0]) if timed and rows else None,
    )


def _drift(reference: Faces, candidate: Faces, row: int, column: int) -> float:
    """Mean distance of the five landmarks over the reference's distance between the eyes; NaN without landmarks."""
    before, after = reference.landmarks[row].astype(np.float64), candidate.landmarks[column].astype(np.float64)
    eyes = float(np.hypot(*(before[1] - before[0])))
    return float(np.hypot(*(after - before).T).mean()) / eyes if eyes > 0 else math.nan


def _share(part: _Counts, whole: _Counts, seed: int) -> Share:
    """Faces over faces; the interval draws images. Images without a face of either kind change nothing."""
    if not whole.sum():
        return Share(math.nan, math.nan, math.nan)
    part, whole = part[whole > 0], whole[whole > 0]
    picked = np.random.default_rng(seed).integers(0, len(whole), (RESAMPLES, len(whole)))
    low, high = np.quantile(part[picked].sum(axis=1) / whole[picked].sum(axis=1), _INTERVAL)
    return Share(float(part.sum() / whole.sum()), float(low), float(high))


def _open(path: Path, threads: int) -> FaceDetector:
    spec = detector_spec(path)
    return FaceDetector(backend=open_backend(path, threads, simulate=needs_simulation(spec)), spec=spec)


def _timed(paths: Sequence[Path], seconds: float) -> BenchReport | None:
    """The reference and the candidates that were made for this machine, one image at a time."""
    specs = [detector_spec(path) for path in paths]
    timeable = [p for p, spec in zip(paths, specs) if not (needs_simulation(spec) or made_for_another(p, spec))]
    if seconds <= 0 or len(timeable) < 2 or timeable[0] != paths[0]:
        return None
    return bench(timeable, (1,), (1,), seconds, memory=False)
