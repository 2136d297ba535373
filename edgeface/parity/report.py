"""The values that a parity comparison fills in: per head, per group, latency; all of it goes into the JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeface.bench.model_speed import BenchReport, Speedup
from edgeface.parity.stats import UNITS, Loss


@dataclass(frozen=True)
class HeadParity:
    """One head on all faces: mean absolute error in years, or accuracy in points, of reference and candidate.

    ``loss`` is above zero where the candidate is worse.
    """

    head: str
    reference: float
    candidate: float
    loss: Loss

    @property
    def unit(self) -> str:
        return UNITS[self.head]


@dataclass(frozen=True)
class GroupLoss:
    """One head's loss in one group; ``axis`` as in ``stats.Group``."""

    axis: str
    group: str
    head: str
    loss: Loss

    @property
    def unit(self) -> str:
        return UNITS[self.head]


@dataclass(frozen=True)
class Change:
    """How far a head's answers move, whatever the labels.

    ``largest`` is the largest absolute difference of any number of the output, in its own unit; ``flips`` the fraction
    of faces with another class (``None``: no classes); ``p50`` and ``p99`` are percentiles of the absolute difference
    by face (of the most changed class).
    """

    output: str
    largest: float
    p50: float
    p99: float
    flips: float | None = None


@dataclass(frozen=True, eq=False)
class CandidateParity:
    """A candidate against the reference on the same crops.

    ``simulated``: this processor's integer kernels would get it wrong, so Q/DQ pairs rounded floats, and its time on
    this machine is unknown. ``elsewhere``: the file was made for another kind of machine (a TensorRT graph, seen on a
    processor), so it is not timed. ``not_finite`` counts faces answered with NaN or infinity; no other figure has them.
    ``age_changes_years`` is a histogram of signed age differences: (lower edges and the last upper edge, counts).
    """

    path: str
    sha256: str
    precision: Mapping[str, Any] | None
    simulated: bool
    elsewhere: bool
    not_finite: int
    heads: tuple[HeadParity, ...]
    changes: tuple[Change, ...]
    groups: tuple[GroupLoss, ...]
    age_changes_years: tuple[tuple[float, ...], tuple[int, ...]]
    speedup: Speedup | None = None

    def worst(self, unit: str) -> GroupLoss | None:
        """The group whose loss in ``unit`` ("points", "years") is surest: the highest lower end of an interval."""
        losses = [group for group in self.groups if group.unit == unit]
        return max(losses, key=lambda group: (group.loss.low, group.loss.mean), default=None)

    def to_dict(self) -> dict[str, Any]:
        worst = {unit: self.worst(unit) for unit in ("points", "years")}
        return {
            "candidate": self.path,
            "sha256": self.sha256,
            "precision": self.precision,
            "simulated": self.simulated,
            "elsewhere": self.elsewhere,
            "not_finite": self.not_finite,
            "heads": {
                item.head: {
                    "unit": item.unit,
                    "reference": item.reference,
                    "candidate": item.candidate,
                    "loss": asdict(item.loss),
                }
                for item in self.heads
            },
            "changes": {change.output: asdict(change) for change in self.changes},
            "worst_group": {unit: None if group is None else asdict(group) for unit, group in worst.items()},
            "groups": [asdict(group) for group in self.groups],
            "speedup": None if self.speedup is None else {**self.speedup._asdict(), "verdict": self.speedup.verdict},
        }


@dataclass(frozen=True, eq=False)
class ParityReport:
    """All candidates against one reference on ``faces`` faces.

    Groups of fewer than ``group_faces`` faces are not judged: ``small_groups`` of them. ``missed_detections`` faces
    were cut as centre squares. ``bench`` has the latencies, ``None`` where nothing was timed.
    """

    reference: str
    reference_sha256: str
    faces: int
    missed_detections: int
    group_faces: int
    small_groups: int
    seed: int
    candidates: tuple[CandidateParity, ...]
    bench: BenchReport | None
    machine: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; a figure that does not exist is ``None``."""
        plain = {
            "reference": self.reference,
            "reference_sha256": self.reference_sha256,
            "faces": self.faces,
            "missed_detections": self.missed_detections,
            "group_faces": self.group_faces,
            "small_groups": self.small_groups,
            "seed": self.seed,
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "bench": None if self.bench is None else self.bench.to_dict()["rows"],
            "machine": dict(self.machine),
        }
        return {name: rounded(value) for name, value in plain.items()}


def rounded(value: Any, digits: int = 6) -> Any:
    """``value`` with its numbers rounded, and ``None`` for what is not finite, which is no JSON."""
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    if isinstance(value, float):
        return round(value, digits) if math.isfinite(value) else None
    return value
