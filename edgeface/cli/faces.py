"""Faces as rows of a table, the same for every verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeface.api import Face

COLUMNS = ("age", "gender", "race", "score")


def row(face: Face) -> tuple[str, ...]:
    """Cells under ``COLUMNS``."""
    return (
        f"{face.age:.0f} ± {face.age_std:.0f}",
        f"{face.gender} {face.gender_confidence:.0%}",
        f"{face.race} {face.race_confidence:.0%}",
        f"{face.score:.2f}",
    )
