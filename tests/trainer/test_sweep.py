"""Sweeps: all combinations, one table, nothing trained twice, a broken run does not stop the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ConfigError  # noqa: E402
from tests.fixtures import tiny_detector  # noqa: E402, F401
from tests.trainer.people import make_people  # noqa: E402
from trainer import train  # noqa: E402
from trainer.sweep import _values, run_sweep  # noqa: E402


@pytest.fixture
def recipe(tmp_path: Path, tiny_detector: Path) -> Path:  # noqa: F811
    path = tmp_path / "tiny.toml"
    path.write_text(f"""
utkface = ["{make_people(tmp_path / "people")}"]
fairface = []
detector = "{tiny_detector}"
cache = "{tmp_path / "cache"}"
input_size = 32
stem = 4
widths = [8]
depths = [1]
batch = 16
epochs = 1
threads = 1
""")
    return path


def test_every_combination_runs_once(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "sweep"
    over = ["learning_rate=0.001,1e30", "tasks=['age','race']"]
    text = run_sweep(recipe, over, ["patience=3"], out)
    assert text == (out / "sweep.md").read_text()
    good, bad = json.loads((out / "sweep.json").read_text())["runs"]
    assert good["settings"] == {"learning_rate": "0.001", "tasks": "['age','race']"} and good["epochs"] == 1
    assert good["metrics"]["utkface"]["n"] > 0 and "error" not in good
    assert "the loss became" in bad["error"] and "the loss became" in text
    head = text.splitlines()[2]
    assert head.startswith("| learning_rate | tasks | epochs | utkface age_mae |")

    trained = []
    real = train.fit
    monkeypatch.setattr(train, "fit", lambda config, resume: trained.append(resume) or real(config, resume))
    assert run_sweep(recipe, over, ["patience=3"], out).count("\n") == text.count("\n")
    assert trained == [True], "the finished run stays, the broken one goes on"
    again = run_sweep(recipe, over[1:] + over[:1], ["patience=3"], tmp_path / "elsewhere")
    assert again != text and len(trained) == 3
    run_sweep(recipe, over, ["patience=4"], out)
    assert "was trained with patience = 3" in json.loads((out / "sweep.json").read_text())["runs"][0]["error"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("ema=0,0.9", ["0", "0.9"]),
        ("pretrain=,age-contrast", ["", "age-contrast"]),
        ("widths=[16,32],[32,64]", ["[16,32]", "[32,64]"]),
    ],
)
def test_values_of_a_setting(text: str, values: list[str]) -> None:
    assert [value for _, value in _values(text)] == values


def test_what_is_no_sweep(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--over ema: expected key=value,value"):
        run_sweep(recipe, ["ema"], [], tmp_path)
    with pytest.raises(ConfigError, match="no key `emma`, the nearest is `ema`"):
        run_sweep(recipe, ["emma=0"], [], tmp_path)
