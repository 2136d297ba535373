"""The table of recipes: how each was trained, and that the committed one is its results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from benchmarks.studies.recipes import Trained, recipes  # noqa: E402
from benchmarks.tables.recipes_table import markdown  # noqa: E402
from tests.conftest import ROOT  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize(("epoch", "start", "how"), [
    (1, "", "1 epoch from random weights"),
    (20, "imagenet", "20 epochs from imagenet weights"),
])  # fmt: skip
def test_a_checkpoint_tells_how_it_was_trained(epoch: int, start: str, how: str, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"epoch": epoch, "config": {"start": start}, "ema": {}}, path)
    assert Trained.parse(f"small={path}") == ("small", Trained(path, how))
    assert Trained.parse(f"small={path}=a week, lr=1") == ("small", Trained(path, "a week, lr=1"))


def test_the_table_is_the_results_and_has_every_recipe() -> None:
    result = json.loads((RESULTS / "recipes.json").read_text(encoding="utf-8"))
    assert markdown(result) == (RESULTS / "recipes.md").read_text(encoding="utf-8")
    assert sorted(result["recipes"]) == recipes()
    assert all(row["ours"] and row["trained"] for row in result["recipes"].values())
