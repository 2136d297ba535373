"""People counted per interval, told so that no count is about fewer than k of them.

k-anonymity as in Sweeney, "k-anonymity: a model for protecting privacy" (2002): whatever is published of people is true
of at least k. An interval with fewer says so and no more, no one included. In a breakdown, groups of fewer than k are
merged into "other"; where that leaves "other" itself below k, the smallest published group joins it, so that it
cannot be found by subtraction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeface.errors import ConfigError
from edgeface.inference.result import SCHEMA, Face

AGE_BANDS = ((0, 17), (18, 29), (30, 44), (45, 59), (60, 120))
"""Years, both ends included."""
OTHER = "other"
_UNSURE = "unsure"
_MOST_PEOPLE = 100_000
"""Told apart in one interval; more are not counted, so that memory stays bounded."""


@dataclass(frozen=True)
class CountOptions:
    """``k``: the fewest people anything is said about; ``interval_s``: seconds that one count covers."""

    k: int = 5
    interval_s: float = 60.0

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ConfigError(f"counts of fewer than 2 people are about one person, found k {self.k}")
        if not self.interval_s >= 1:
            raise ConfigError(f"counts need an interval of at least 1 s, found {self.interval_s:g}")


@dataclass
class Counter:
    """Who was seen in one interval of one source: by track, the last answers; tracks never leave it."""

    options: CountOptions
    heads: tuple[str, ...]
    people: dict[int, dict[str, str]] = field(default_factory=dict)

    def add(self, faces: tuple[Face, ...]) -> None:
        """Count the faces that are followed: those of a single glance may be none."""
        for face in faces:
            if face.track is not None and (face.track in self.people or len(self.people) < _MOST_PEOPLE):
                self.people[face.track] = self._groups(face)

    def _groups(self, face: Face) -> dict[str, str]:
        values = {"age": band(face.age), "gender": face.gender, "race": face.race}
        return {
            head: _UNSURE if head in face.abstained else value or _UNSURE
            for head, value in values.items()
            if head in self.heads
        }

    def message(self, source: str, start: str | None, complete: bool = True) -> dict[str, Any]:
        """What may be said of the interval that began at ``start`` (ISO 8601; ``None``: a file's time is not ours).

        The last one of a run need not be ``complete``.
        """
        count = len(self.people)
        enough = count >= self.options.k
        said: dict[str, Any] = {
            "schema": SCHEMA,
            "kind": "counts",
            "source": source,
            "start": start,
            "interval_s": self.options.interval_s,
            "complete": complete,
            "k": self.options.k,
            "people": count if enough else None,
        }
        for head in self.heads:
            groups = [answers[head] for answers in self.people.values()]
            totals = {group: groups.count(group) for group in sorted(set(groups))}
            said[head] = anonymous(totals, self.options.k) if enough else None
        return said


def anonymous(totals: Mapping[str, int], k: int) -> dict[str, int]:
    """``totals`` of groups, those below ``k`` merged into "other", which has at least ``k`` or does not exist.

    The sum stays; there must be ``k`` people in all.
    """
    small = {group: count for group, count in totals.items() if 0 < count < k}
    large = {group: count for group, count in totals.items() if count >= k}
    other = sum(small.values())
    while 0 < other < k:
        smallest = min(large, key=lambda group: (large[group], group))
        other += large.pop(smallest)
    return large | ({OTHER: other} if other else {})


def band(age: float | None) -> str | None:
    """The band of ``AGE_BANDS`` an age falls into, as ``30-44``."""
    if age is None:
        return None
    low, high = next((ends for ends in AGE_BANDS if age < ends[1] + 1), AGE_BANDS[-1])
    return f"{low}-{high}"
