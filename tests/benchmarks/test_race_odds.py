"""``benchmarks.studies.race_odds``: counted by hand, the shipped file's shift, its table, a short run."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("onnx", reason="the extra `dev` is not installed")

from benchmarks.studies import race_odds
from benchmarks.studies.artefact_study import QUICK_FACES
from edgeface.inference.detector import shipped_model
from edgeface.spec.metadata import model_spec
from tests.conftest import needs_shared

RACE = np.array([[0.5, 0.1, 0.0, 0.0, 0.4], [0.7, 0.0, 0.0, 0.0, 0.3], [0.0, 0.0, 0.6, 0.0, 0.4]], np.float32)
LABEL = np.array([4, 0, 4])


def test_races_are_counted_anew_for_a_factor() -> None:
    as_shipped, shifted = (race_odds.row_of(RACE, LABEL, factor) for factor in (1.0, 1.3))
    assert as_shipped["accuracy"] == pytest.approx(1 / 3) and as_shipped["recalls"]["Others"] == 0
    assert shifted["accuracy"] == pytest.approx(2 / 3) and shifted["recalls"]["Others"] == 0.5
    assert shifted["recalls"]["White"] == 1 and np.isnan(shifted["recalls"]["Black"])
    assert RACE[0, 4] == np.float32(0.4), "what was given stays as it is"


def test_the_factor_that_takes_the_shift_back() -> None:
    model = shipped_model("attributes.onnx")
    calibration = model_spec(model).training["calibration"]
    factor = race_odds._taken_back(model)
    assert -log(factor) * calibration["race_temperature"] == pytest.approx(calibration["race_bias"][4], abs=2e-3)


@needs_shared
def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "odds.json"
    assert race_odds.main(["--quick", "--save", str(saved)]) == 0
    results = json.loads(saved.read_text(encoding="utf-8"))
    table = race_odds.tables(results)["race_odds"].splitlines()
    assert len(table) == 2 + len(results["factors"]) and capsys.readouterr().out.count("\n| ") >= len(table) - 1
    assert any(line.startswith("| 1.00 (as shipped) |") for line in table)
    for judged in results["sets"].values():
        others = [row["recalls"]["Others"] for row in judged["rows"]]
        assert judged["faces"] == QUICK_FACES and others == sorted(others)
