"""A crowd of made-up people and a set drawn from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.calibration import CalibrationSet, draw
from edgeface.evaluation.datasets import FaceSet, find_faces
from tests.calibration.people import add_crowd
from tests.fixtures import tiny_detector, tiny_model  # noqa: F401


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    return add_crowd(tmp_path / "crowd")


@pytest.fixture
def data(crowd: Path) -> tuple[FaceSet, ...]:
    return find_faces([crowd])


@pytest.fixture
def drawn(data: tuple[FaceSet, ...]) -> CalibrationSet:
    """Twelve images of the crowd."""
    return draw(data, 12, 1, name="twelve", source="made up", licence="none")
