"""Orders of a tiny network whose answer is how bright a crop is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeface.build.build import BuildRequest
from edgeface.calibration import draw, write_set
from edgeface.evaluation.datasets import find_faces
from edgeface.spec.recipe import Recipe
from tests.build.requests import people, write_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "grey.onnx")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """No clock: this network is too small to be faster in eight bits."""
    path = tmp_path / "gate.toml"
    path.write_text("latency = false\nage_mae_years = 0.5\n")
    return path


@pytest.fixture
def order(tmp_path: Path, model: Path, gate: Path) -> Callable[..., BuildRequest]:
    """An int8 order; ``darkness`` spoils its calibration."""

    def make(darkness: int = 1, **changes: Any) -> BuildRequest:
        data = people(tmp_path / f"people{darkness}", darkness)
        calibration = tmp_path / f"set{darkness}.toml"
        write_set(draw(find_faces([data]), 8, 1), calibration)
        recipe = Recipe(target="cpu", precision="int8", calibration=calibration, method="minmax")
        return BuildRequest(
            **{
                "model": model,
                "recipe": recipe,
                "out": tmp_path / "out" / "grey.int8.onnx",
                "data": (data,),
                "gate": gate,
                **changes,
            }
        )

    return make
