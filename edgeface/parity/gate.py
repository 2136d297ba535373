"""What a candidate may lose: the budget, and the sentences that say where it is broken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from edgeface.bench.model_speed import Speedup
from edgeface.common.toml_file import check_ranges, from_table, in_range, read_toml
from edgeface.parity.report import CandidateParity, Change, GroupLoss, HeadParity, ParityReport

_NAMES = {
    "age": "age error",
    "age_interval": "age interval accuracy",
    "gender": "gender accuracy",
    "race": "race accuracy",
}


@dataclass(frozen=True)
class Budget:
    """What a candidate may lose against its reference; the keys of a gate file.

    ``age_mae_years`` and ``accuracy_points`` bound the losses on all faces. ``group_points`` and ``group_age_years``
    bound those of the worst group, by the end of its 95 % interval that is nearer to zero; groups of fewer than
    ``group_faces`` faces are not judged. ``flips`` (0…1) bounds the faces that change their class in any head, and
    ``age_change_years`` how far the median face's age moves, whether for better or worse: ranges taken from noise move
    answers three times as far as ranges from faces, long before the mean error shows it. ``latency`` asks for a
    candidate that is faster than the reference on this machine, beyond noise. ``detector_recall`` and
    ``detector_precision`` (0…1) are for face detectors: how many of the reference's faces the candidate has to find,
    and how many of its own must be the reference's. Raises ``ConfigError`` for values out of range.
    """

    age_mae_years: float = in_range(0.05, 0)
    accuracy_points: float = in_range(0.3, 0)
    group_points: float = in_range(1.0, 0)
    group_age_years: float = in_range(0.25, 0)
    group_faces: int = in_range(50, 0)
    flips: float = in_range(0.02, 0, 1)
    age_change_years: float = in_range(0.2, 0)
    latency: bool = True
    detector_recall: float = in_range(0.99, 0, 1)
    detector_precision: float = in_range(0.98, 0, 1)

    def __post_init__(self) -> None:
        check_ranges(self)


def read_budget(path: str | os.PathLike[str]) -> Budget:
    """A gate file: TOML with some of ``Budget``'s keys. Raises ``ConfigError`` for an unknown key or a bad value."""
    return from_table(Budget, read_toml(path, "gate"), f"gate `{path}`")


def failures(report: ParityReport, budget: Budget | None = None) -> list[str]:
    """One sentence for every broken bound, none where every candidate keeps the ``budget`` (``None``: the default)."""
    budget = budget or Budget()
    return [
        f"`{candidate.path}`: {fault}"
        for candidate in report.candidates
        for fault in _faults(candidate, report, budget)
    ]


def _faults(candidate: CandidateParity, report: ParityReport, budget: Budget) -> Iterator[str]:
    if candidate.not_finite:
        yield f"{candidate.not_finite} of {report.faces} faces are answered with NaN or infinity"
    for item in candidate.heads:
        allowed = budget.age_mae_years if item.unit == "years" else budget.accuracy_points
        if item.loss.mean > allowed:
            yield _head_sentence(item, allowed)
    for change in candidate.changes:
        yield from _change_sentence(change, budget)
    for unit, allowed in (("points", budget.group_points), ("years", budget.group_age_years)):
        worst = candidate.worst(unit)
        if worst is not None and worst.loss.low > allowed:
            broken = sum(group.loss.low > allowed for group in candidate.groups if group.unit == unit)
            yield _group_sentence(worst, allowed, broken)
    if budget.latency and candidate.speedup is not None:
        yield from slow_faults(report.reference, candidate.speedup)


def slow_faults(reference: str, speedup: Speedup) -> list[str]:
    """A sentence where a candidate is not faster than ``reference``, none where it is."""
    if speedup.verdict == "faster":
        return []
    return [
        f"it is not faster than `{reference}` on this machine: {speedup.median:.2f} times as fast "
        f"(95 % interval {speedup.low:.2f} to {speedup.high:.2f})"
    ]


def _head_sentence(item: HeadParity, allowed: float) -> str:
    return (
        f"{_NAMES[item.head]} {_verb(item.head)} {item.loss.mean:.2f} {item.unit} ({item.reference:.2f} to "
        f"{item.candidate:.2f}, {item.loss.n} faces), allowed are {allowed:g}"
    )


def _change_sentence(change: Change, budget: Budget) -> Iterator[str]:
    if change.flips is not None and change.flips > budget.flips:
        yield f"{change.flips:.1%} of the faces change their {change.output}, allowed are {budget.flips:.1%}"
    if change.output == "age" and change.p50 > budget.age_change_years:
        yield f"the median face's age moves by {change.p50:.2f} years, allowed are {budget.age_change_years:g}"


def _group_sentence(group: GroupLoss, allowed: float, broken: int) -> str:
    more = f"; {broken - 1} more group figures break this bound" if broken > 1 else ""
    return (
        f"{_NAMES[group.head]} of {group.group} {_verb(group.head)} {group.loss.mean:.2f} {group.unit} "
        f"({group.loss.n} faces, 95 % interval {group.loss.low:.2f} to {group.loss.high:.2f}), allowed are {allowed:g} "
        f"beyond the interval{more}"
    )


def _verb(head: str) -> str:
    return "grows by" if head == "age" else "falls by"
