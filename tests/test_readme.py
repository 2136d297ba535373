"""The README says what is true: its code runs, its commands and files exist, its figures are those of the results."""

from __future__ import annotations

import contextlib
import io
import json
import re
from typing import Any

import pytest

from edgeface.cli.main import app
from edgeface.common.files import sha256_file
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS_PAGE = (ROOT / "docs" / "guide" / "results.md").read_text(encoding="utf-8")


def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(block, "README.md", "exec"), {})
    assert re.search(r"\d+ ± \d+ years, female \d+%", out.getvalue()), out.getvalue()


def test_it_is_short() -> None:
    assert len(README.split()) <= 1600


def test_every_command_of_the_table_exists() -> None:
    named = set(re.findall(r"`edgeface ([a-z-]+)", README))
    assert named == {verb.name for verb in (*app.registered_commands, *app.registered_groups)}


def test_every_link_and_file_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    files = re.findall(r"`((?:edgeface|trainer|tests|benchmarks|calibration|engines)/[\w./-]+)`", README)
    assert links
    assert [name for name in links + files if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_make_targets_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:`|^    )make ([a-z]+)", (ROOT / name).read_text(encoding="utf-8"), re.M)) <= targets


def test_the_version_has_a_changelog_entry() -> None:
    from edgeface import __version__

    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def test_the_figures_in_sentences_are_those_of_the_results() -> None:
    """Those in tables are ``benchmarks.tables.generate``'s care."""
    agreement = result("detector_agreement")["parts"]["all"]
    named = [percent(agreement[key]) for key in ("recall", "precision", "landmark_error", "teacher_error")]
    honesty = shipped_honesty()
    errors = [f"{honesty[head]['ece']:.3f}" for head in ("gender", "race")]
    calibrated = [percent(honesty["age"]["coverage90"]), *errors]
    recalls = result("evaluate_utkface")["race_recalls"]
    weakest = min(recalls, key=recalls.get)
    assert [figure for figure in named + calibrated if figure not in RESULTS_PAGE] == []
    assert f'The weakest class is "{weakest}": {percent(recalls[weakest])}' in RESULTS_PAGE


def shipped_honesty() -> dict[str, Any]:
    """How honest the shipped network is on UTKFace fold 1, the only one in its file."""
    report = result("honesty_utkface")
    ((judged,),) = (found.values() for found in report["results"].values())
    honesty: dict[str, Any] = judged["honesty"]
    return honesty


def test_the_figures_belong_to_the_shipped_weights() -> None:
    shipped = ROOT / "edgeface" / "assets" / "models"
    parity, bench = result("parity_attributes"), result("bench_precision")
    attributes, detector = (sha256_file(shipped / f"{name}.onnx") for name in ("attributes", "detector"))
    judged = ("evaluate_utkface", "evaluate_fairface", "race_odds")
    assert {result(name)["model_sha256"] for name in judged} == {attributes}
    by_fairface = {result(f"evaluate_{data}_by_fairface")["model_sha256"] for data in ("utkface", "fairface")}
    assert by_fairface == {sha256_file(shipped / "attributes-fairface.onnx")}
    honest = [model["sha256"] for data in ("utkface", "fairface") for model in result(f"honesty_{data}")["models"]]
    assert honest == [attributes] * 2
    assert result("detector_agreement")["model"]["sha256"] == detector
    assert parity["reference_sha256"] == bench["rows"][0]["sha256"] == attributes
    assert bench["rows"][1]["sha256"] == parity["candidates"][0]["sha256"]
    assert result("parity_detector")["reference_sha256"] == detector
