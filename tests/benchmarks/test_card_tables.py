"""``benchmarks.tables.card_tables``: what the cards say where both, one or none of the data sets have faces of a
group."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.tables import card_tables
from benchmarks.tables.generate import RESULTS

FILES = ("evaluate_utkface", "evaluate_fairface", "honesty_utkface", "honesty_fairface")


@pytest.fixture
def results() -> dict[str, dict[str, Any]]:
    return {name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in FILES}


def cell(results: dict[str, dict[str, Any]], row: str, column: int) -> str:
    table = card_tables.card(results)["card_cells"].splitlines()
    (line,) = (line for line in table if line.startswith(f"| {row} |"))
    return line.split(" | ")[column]


def test_a_cell_counts_the_faces_of_both_sets(results: dict[str, dict[str, Any]]) -> None:
    utkface, fairface = (results[name]["groups"]["gender_race_age"] for name in FILES[:2])
    utkface["male Black 0-2"] = {"n": 1, "age_mae": 2.25, "gender_accuracy": 1.0, "race_accuracy": 0.0}
    fairface["male Black 0-2"] = {"n": 3, "gender_accuracy": 1 / 3, "race_accuracy": 1.0}
    assert cell(results, "male Black", 1) == "2.2 / 50 / 75 (4)"
    del utkface["male Black 0-2"]
    assert cell(results, "male Black", 1) == "– / 33 / 100 (3)"
    del fairface["male Black 0-2"]
    assert cell(results, "male Black", 1) == "–"


def test_a_group_without_faces_is_a_dash(results: dict[str, dict[str, Any]]) -> None:
    del results["evaluate_utkface"]["groups"]["age"]["70+"]
    last = card_tables.card(results)["card_groups"].splitlines()[-1]
    assert last.startswith("| 70+ | 0 | – | – | – | 67 | ")


def test_both_cards_have_the_same_tables(results: dict[str, dict[str, Any]]) -> None:
    other = card_tables.fairface_card({f"{name}_by_fairface": found for name, found in results.items()})
    assert {f"fairface_{name}": text for name, text in card_tables.card(results).items()} == other
