"""The ablation's rows are recipes, run once each, and its table marks what is better than the first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from benchmarks.studies.ablation import ROWS, markdown, run_rows  # noqa: E402
from edgeface.common.toml_file import read_toml  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.fixtures import tiny_detector  # noqa: E402, F401
from tests.trainer.people import make_fairface, make_people  # noqa: E402
from trainer.config import load_config  # noqa: E402


def test_every_row_is_a_valid_recipe() -> None:
    plan = read_toml(ROWS, "plan of rows")
    for own in plan["rows"].values():
        config = load_config(ROOT / plan["recipe"], [*plan["settings"], *(text.format(soft="x") for text in own)])
        assert config.epochs == 6
    assert any("{soft}" in text for own in plan["rows"].values() for text in own)


def test_rows_are_trained_once_and_known_by_their_settings(tmp_path: Path, tiny_detector: Path) -> None:  # noqa: F811
    faces, labels = make_fairface(tmp_path / "fairface")
    settings = [f"utkface=['{make_people(tmp_path / 'utkface')}']", f"fairface=['{faces}']",
                f"fairface_labels={labels}", f"detector={tiny_detector}", f"cache={tmp_path / 'cache'}",
                "input_size=32", "stem=4", "widths=[8]", "depths=[1]", "batch=16", "threads=1"]  # fmt: skip
    plan = {"recipe": str(ROOT / "trainer/recipes/smoke.toml"), "settings": ["epochs=1"],
            "rows": {"labels": [], "mixed": ["mixup=0.2", "name={soft}"]}}  # fmt: skip
    rows = run_rows(plan, Path("soft-file"), settings, tmp_path / "out")
    assert list(rows) == ["labels", "mixed"] and rows["mixed"]["settings"] == ["mixup=0.2", "name={soft}"]
    assert {row["epochs"] for row in rows.values()} == {1}
    written = [(tmp_path / "out" / f"row{n}" / "last.pt").stat().st_mtime_ns for n in (1, 2)]
    assert run_rows(plan, Path("soft-file"), settings, tmp_path / "out") == rows
    assert [(tmp_path / "out" / f"row{n}" / "last.pt").stat().st_mtime_ns for n in (1, 2)] == written


def test_the_table_is_the_results() -> None:
    results = ROOT / "benchmarks" / "results"
    result = json.loads((results / "ablation.json").read_text(encoding="utf-8"))
    text = (results / "ablation.md").read_text(encoding="utf-8")
    assert markdown(result) == text
    assert "| labels alone | 6.58 | 88.3 |" in text and "| + soft labels | **6.41** | **89.6** |" in text
