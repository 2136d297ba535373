"""Faces as rows of a table, the same for every verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeface.api import Face

UNSURE = "unsure"
COLUMNS = ("age", "gender", "race", "score")


def row(face: Face) -> tuple[str, ...]:
    """Cells under ``COLUMNS``; empty where the network has no such head, ``UNSURE`` where it abstains."""
    cells = {
        "age": _cell("{:.0f}", face.age) + _cell(" ± {:.0f}", face.age_std),
        "gender": _cell("{}", face.gender) + _cell(" {:.0%}", face.gender_confidence),
        "race": _cell("{}", face.race) + _cell(" {:.0%}", face.race_confidence),
    }
    return (*(UNSURE if head in face.abstained else cell for head, cell in cells.items()), f"{face.score:.2f}")


def _cell(wording: str, value: float | str | None) -> str:
    return "" if value is None else wording.format(value)
