"""The README says what is true: its code runs, its commands and files exist, its figures are those of the results."""

from __future__ import annotations

import contextlib
import io
import json
import re
from typing import Any

import pytest

from edgeface.artifact import sha256_file
from edgeface.cli.main import app
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(block, "README.md", "exec"), {})
    assert re.search(r"\d+ ± \d+ years, female \d+%", out.getvalue()), out.getvalue()


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


def test_the_figures_are_those_of_the_results() -> None:
    utkface, fairface = result("evaluate_utkface"), result("evaluate_fairface")
    agreement = result("detector_agreement")["parts"]["all"]
    named = [
        f"{utkface['age_mae']:.2f} y",
        *(percent(utkface[key]) for key in ("gender_accuracy", "race_accuracy")),
        *(percent(fairface[key]) for key in ("gender_accuracy", "race_accuracy", "age_interval_within1")),
        *(percent(agreement[key]) for key in ("recall", "precision", "landmark_error", "teacher_error")),
    ]
    assert [figure for figure in named if figure not in README] == []


def test_the_figures_belong_to_the_shipped_weights() -> None:
    shipped = ROOT / "edgeface" / "assets" / "models"
    parity, bench = result("parity_attributes"), result("bench_precision")
    attributes, detector = (sha256_file(shipped / f"{name}.onnx") for name in ("attributes", "detector"))
    assert {result(name)["model_sha256"] for name in ("evaluate_utkface", "evaluate_fairface")} == {attributes}
    assert result("detector_agreement")["model"]["sha256"] == detector
    assert parity["reference_sha256"] == bench["rows"][0]["sha256"] == attributes
    assert bench["rows"][1]["sha256"] == parity["candidates"][0]["sha256"]
    assert result("parity_detector")["reference_sha256"] == detector


def test_the_losses_of_quantised_models_are_those_of_the_results() -> None:
    for candidate in result("parity_attributes")["candidates"]:
        for head in ("age", "gender", "race"):
            loss = candidate["heads"][head]["loss"]
            assert f"{loss['mean']:+.2f} ({loss['low']:+.2f} to {loss['high']:+.2f})" in README
    (row,) = (r for r in result("bench_precision")["rows"] if r["batch"] == 8 and "int8" in r["artefact"])
    assert f"{row['speedup']['median']:.2f}× FP32" in README
