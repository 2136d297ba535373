"""Faces as rows of a table, the same for every verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeface.api import Face

COLUMNS = ("age", "gender", "race", "score")


def row(face: Face) -> tuple[str, ...]:
    """Cells under ``COLUMNS``; empty where the network has no such head."""
    return (
        _cell("{:.0f}", face.age) + _cell(" ± {:.0f}", face.age_std),
        _cell("{}", face.gender) + _cell(" {:.0%}", face.gender_confidence),
        _cell("{}", face.race) + _cell(" {:.0%}", face.race_confidence),
        f"{face.score:.2f}",
    )


def _cell(wording: str, value: float | str | None) -> str:
    return "" if value is None else wording.format(value)
