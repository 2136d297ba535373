"""Attribute networks side by side: the same crops through the reference and every candidate.

Nothing here opens an artefact in another way than ``edgeface run`` does, but for one case: an 8-bit graph that this
processor's integer kernels would get wrong is judged by float simulation, and the report says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.bench.model_speed import BenchReport, bench
from edgeface.common.files import sha256_file
from edgeface.common.machine import fingerprint
from edgeface.errors import ConfigError, DataError
from edgeface.evaluation.labelled_crops import LabelledCrops
from edgeface.evaluation.metrics import Answers, Labels
from edgeface.inference.attributes import AttributeEstimator
from edgeface.parity.report import CandidateParity, Change, GroupLoss, HeadParity, ParityReport
from edgeface.parity.stats import Floats64, Group, errors, groups_of, losses
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import model_spec
from edgeface.spec.model import ModelSpec
from edgeface.spec.precision import made_for_another, needs_simulation
from edgeface.types import Attributes

GROUP_FACES = 50
"""Groups of fewer faces are not judged: one face would be more than two points."""
LATENCY_BATCH = 8
"""Faces at a time, on one thread, where artefacts are timed."""
_EDGES_YEARS = np.linspace(-3, 3, 61)
PathLike = str | os.PathLike[str]
Progress = Callable[[int, int], None]
"""Called with the number of artefacts done and the number of all."""


def answers_of(path: PathLike, crops: NDArray[np.uint8], batch: int = 64, threads: int = 0) -> Attributes:
    """What the artefact says of crops uint8 ``[N, S, S, 3]``; by float simulation where ``is_simulated``."""
    spec = model_spec(path)
    backend = open_backend(path, threads, simulate=needs_simulation(spec))
    with AttributeEstimator(backend=backend, spec=spec, batch=batch, check_values=False) as estimator:
        return estimator.from_crops(crops)


def is_simulated(path: PathLike) -> bool:
    """Whether this machine can only judge the artefact by letting its Q/DQ pairs round floats."""
    return needs_simulation(model_spec(path))


def compare(
    reference: PathLike,
    candidates: Sequence[PathLike],
    crops: LabelledCrops,
    seed: int = 0,
    latency_s: float = 2.0,
    group_faces: int = GROUP_FACES,
    batch: int = 64,
    threads: int = 0,
    progress: Progress | None = None,
) -> ParityReport:
    """Judge all ``candidates`` against ``reference`` on ``crops``.

    ``latency_s`` seconds are spent timing each artefact made for this machine (0: none). Raises ``SpecError`` or
    ``ArtifactError`` for a file that is no attribute network, ``ConfigError`` for a candidate that wants other crops,
    ``DataError`` without any label.
    """
    _check(Path(reference), [Path(path) for path in candidates])
    report = progress or (lambda done, total: None)
    baseline = answers_of(reference, crops.pixels, batch, threads)
    if not _finite(baseline, model_spec(reference)).all():
        raise DataError(f"`{reference}` answers with NaN or infinity, so it is no reference; export it again")
    groups, judged = groups_of(crops.labels), []
    for done, path in enumerate(candidates, 1):
        report(done, len(candidates) + 1)
        answers = answers_of(path, crops.pixels, batch, threads)
        judged.append(judge(Path(path), model_spec(path), baseline, answers, crops.labels, groups, group_faces, seed))
    timed = _timed(Path(reference), judged, latency_s) if latency_s > 0 else None
    report(len(candidates) + 1, len(candidates) + 1)
    return ParityReport(
        reference=str(reference),
        reference_sha256=sha256_file(reference),
        faces=len(crops),
        missed_detections=int(np.count_nonzero(~crops.found)),
        group_faces=group_faces,
        small_groups=sum(int(np.count_nonzero(group.rows)) < group_faces for group in groups),
        seed=seed,
        candidates=tuple(_with_speedup(candidate, timed) for candidate in judged),
        bench=timed,
        machine=fingerprint(),
    )


def _check(reference: Path, candidates: Sequence[Path]) -> None:
    """All want the same crops and have the same heads."""
    if not candidates:
        raise ConfigError("no candidate to compare: name one or more model files after the reference")
    wanted = model_spec(reference)
    for path in candidates:
        spec = model_spec(path)
        if (spec.input_size, spec.alignment) != (wanted.input_size, wanted.alignment):
            raise ConfigError(
                f"`{path}` wants {spec.input_size} px crops, `{reference}` {wanted.input_size} px ones, or they align "
                "faces differently: only models of the same input can be compared on the same crops"
            )
        if _heads_of(spec) != _heads_of(wanted):
            found, expected = (", ".join(_heads_of(item)) for item in (spec, wanted))
            raise ConfigError(
                f"`{path}` answers {found}, `{reference}` {expected}: only models with the same heads can be compared"
            )


def _finite(answers: Attributes, spec: ModelSpec) -> NDArray[np.bool_]:
    """Faces whose every answer is a number, of the heads that there are."""
    columns = [np.reshape(getattr(answers, name), (len(answers), -1)) for name in _heads_of(spec)]
    return np.asarray(np.isfinite(np.concatenate(columns, axis=1)).all(axis=1))


def _heads_of(spec: ModelSpec) -> list[str]:
    """Those that ``Attributes`` knows, in its order."""
    return [item.name for item in fields(Attributes) if any(head.name == item.name for head in spec.heads)]


def judge(
    path: Path,
    spec: ModelSpec,
    reference: Attributes,
    answers: Attributes,
    labels: Labels,
    groups: Sequence[Group],
    group_faces: int = GROUP_FACES,
    seed: int = 0,
) -> CandidateParity:
    """What the artefact at ``path`` loses, whatever ran it: its ``answers`` to the faces that have ``labels``.

    ``reference`` are the reference's answers, row by row the same faces; ``groups`` as ``groups_of`` the labels.
    """
    usable = _finite(answers, spec)
    reference, answers, labels = reference[usable], answers[usable], labels[usable]
    before, after = (errors(Answers.of(said), labels) for said in (reference, answers))
    if not before and usable.any():
        raise DataError("no face has a label, so there is nothing to judge by")
    heads = tuple(before)
    differences = np.stack([after[head] - before[head] for head in heads], axis=1) if heads else np.zeros((0, 0))
    everyone = losses(differences, [np.ones(len(labels.gender), bool)], seed=seed)
    by_group = losses(differences, [group.rows[usable] for group in groups], group_faces, seed)
    return CandidateParity(
        path=str(path),
        sha256=sha256_file(path),
        precision=None if spec.precision is None else asdict(spec.precision),
        simulated=needs_simulation(spec),
        elsewhere=made_for_another(path, spec),
        not_finite=int(np.count_nonzero(~usable)),
        heads=tuple(
            HeadParity(head, _figure(head, before), _figure(head, after), everyone[0, column])
            for column, head in enumerate(heads)
        ),
        changes=_changes(reference, answers, _heads_of(spec)) if usable.any() else (),
        groups=tuple(
            GroupLoss(groups[row].axis, groups[row].name, heads[column], loss)
            for (row, column), loss in by_group.items()
        ),
        age_changes_years=_histogram(answers.age - reference.age),
    )


def _figure(head: str, found: Mapping[str, Floats64]) -> float:
    """Mean absolute error in years, or accuracy in points."""
    mean = float(np.nanmean(found[head]))
    return mean if head == "age" else 100 - mean


def _changes(reference: Attributes, answers: Attributes, heads: Sequence[str]) -> tuple[Change, ...]:
    out = []
    for name in heads:
        before, after = np.asarray(getattr(reference, name)), np.asarray(getattr(answers, name))
        moved = np.abs(after.astype(np.float64) - before)
        flips = None
        if moved.ndim == 2:
            moved, flips = moved.max(axis=1), float(np.mean(before.argmax(axis=1) != after.argmax(axis=1)))
        p50, p99 = (float(value) for value in np.percentile(moved, [50, 99]))
        out.append(Change(name, float(moved.max()), p50, p99, flips))
    return tuple(out)


def _histogram(years: NDArray[np.float32]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Edges and counts; what lies further out is in the first and last bin."""
    counts, edges = np.histogram(np.clip(years, _EDGES_YEARS[0], _EDGES_YEARS[-1]), _EDGES_YEARS)
    return tuple(round(float(edge), 3) for edge in edges), tuple(int(count) for count in counts)


def _timed(reference: Path, candidates: Sequence[CandidateParity], seconds: float) -> BenchReport | None:
    """The reference and all candidates that were made for this machine."""
    timeable = [candidate.path for candidate in candidates if not (candidate.simulated or candidate.elsewhere)]
    if is_simulated(reference) or not timeable:
        return None
    return bench([reference, *timeable], (LATENCY_BATCH,), (1,), seconds, memory=False)


def _with_speedup(candidate: CandidateParity, timed: BenchReport | None) -> CandidateParity:
    rows = [row for row in timed.rows[1:] if row.artefact == candidate.path] if timed else []
    return replace(candidate, speedup=timed.speedup(rows[0])) if timed and rows else candidate
