"""What a candidate may lose: the budget, and the sentences that say where it is broken."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from edgeface.bench.model_speed import Speedup
from edgeface.common.toml_file import read_toml, unknown_key
from edgeface.errors import ConfigError
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
    and how many of its own must be the reference's.
    """

    age_mae_years: float = 0.05
    accuracy_points: float = 0.3
    group_points: float = 1.0
    group_age_years: float = 0.25
    group_faces: int = 50
    flips: float = 0.02
    age_change_years: float = 0.2
    latency: bool = True
    detector_recall: float = 0.99
    detector_precision: float = 0.98


def read_budget(path: str | os.PathLike[str]) -> Budget:
    """A gate file: TOML with some of ``Budget``'s keys. Raises ``ConfigError`` for an unknown key or a bad value."""
    table = read_toml(path, "gate")
    defaults = {item.name: item.default for item in fields(Budget)}
    for key, value in table.items():
        if key not in defaults:
            raise ConfigError(f"gate `{path}` has {unknown_key(key, defaults)}")
        _check(key, value, defaults[key], f"gate `{path}`: {key}")
    return Budget(**table)


def _check(key: str, value: Any, default: Any, where: str) -> None:
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: expected true or false, found {value!r}")
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    if not number or (isinstance(default, int) and not isinstance(value, int)):
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ConfigError(f"{where}: expected {kind} of 0 or more, found {value!r}")
    if (key.startswith("detector_") or key == "flips") and value > 1:
        raise ConfigError(f"{where}: expected a fraction, 0 to 1, found {value!r}")


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
