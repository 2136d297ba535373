"""``edgeface bench``: the table, JSON, saving and comparing, and wrong settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

QUICK = ("--batch", "1", "--seconds", "0.02")


@pytest.fixture(autouse=True)
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each row's memory costs seconds; tests/bench/test_model_speed.py runs the real one."""
    monkeypatch.setattr("edgeface.bench.model_speed.peak_memory_mb", lambda *_: 12.0)


def test_a_table_for_people(cli: Cli, tiny_model: Path, tiny_detector: Path) -> None:
    result = cli("bench", tiny_model, tiny_detector, *QUICK)
    assert result.code == 0
    assert "tiny.onnx" in result.out
    assert "reference" in result.out
    assert "p99 ms" in result.out


def test_json_is_alone_on_stdout(cli: Cli, tiny_model: Path) -> None:
    figures = cli("bench", tiny_model, "--batch", "1,2", "--seconds", "0.02", "--json").json()
    assert [row["batch"] for row in figures["rows"]] == [1, 2]
    assert figures["rows"][0]["memory_mb"] == 12.0
    assert figures["machine"]["python"]


def test_save_then_compare(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    saved = tmp_path / "old.json"
    assert cli("bench", tiny_model, *QUICK, "--save", saved).code == 0
    assert json.loads(saved.read_text())["rows"][0]["rounds_ms"]
    result = cli("bench", tiny_model, *QUICK, "--compare", saved)
    assert result.code == 0
    assert f"against {saved}" in result.out
    compared = cli("bench", tiny_model, *QUICK, "--compare", saved, "--json").json()["compared"]
    assert compared["machine_differences"] == []
    assert compared["changes"][0]["artefact"] == "tiny.onnx"


def test_another_machine_is_said(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    saved = tmp_path / "old.json"
    cli("bench", tiny_model, *QUICK, "--save", saved)
    other = json.loads(saved.read_text())
    other["machine"]["cpu"]["name"] = "Another"
    saved.write_text(json.dumps(other))
    result = cli("bench", tiny_model, *QUICK, "--compare", saved)
    assert "another machine, so no verdict: cpu name: Another then" in result.err
    assert "not comparable" in result.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--batch", "x"), "error: --batch `x`: expected whole numbers as in 1 or 1,8,32"),
        (("--threads", "1,,2"), "error: --threads `1,,2`: expected whole numbers as in 1 or 1,8,32"),
        (("--batch", "0"), "error: batch: expected 1 or more, found 0"),
        (("--compare", "none.json"), "error: cannot read the saved bench `none.json`: No such file or directory"),
    ],
)
def test_wrong_settings(cli: Cli, tiny_model: Path, options: tuple[str, str], sentence: str) -> None:
    result = cli("bench", tiny_model, *options)
    assert (result.code, result.out) == (1, "")
    assert result.err.strip() == sentence
