"""``edgeface parity``: verdict and exit code, JSON, report page, gate files, detectors."""

# ruff: noqa: F811
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeface.evaluation.datasets import fold_of
from tests.cli.conftest import Cli
from tests.fixtures import picture, write_picture
from tests.parity.conftest import Perturb, perturb  # noqa: F401

QUICK = ("--crops", "--no-latency")
STAMPS = [str(number) for number in range(400) if fold_of(str(number)) == 1][:20]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty grey chips of fold 1, labelled as the tiny network answers them."""
    folder = tmp_path / "data"
    for number, stamp in enumerate(STAMPS):
        level = 60 + 5 * number
        write_picture(folder / f"{round(level * 90 / 255)}_0_0_{stamp}.png", np.full((40, 40, 3), level, np.uint8))
    return folder


def test_a_copy_passes(cli: Cli, data: Path, tiny_model: Path, perturb: Perturb) -> None:
    result = cli("parity", tiny_model, perturb("copy.onnx"), "--data", data, *QUICK)
    assert result.code == 0
    assert "copy.onnx against tiny.onnx, 20 faces" in result.out
    assert "gate: passed" in result.out


def test_a_loss_fails_and_is_named(cli: Cli, data: Path, tiny_model: Path, perturb: Perturb) -> None:
    older = perturb("older.onnx", years=1.2)
    result = cli("parity", tiny_model, older, "--data", data, *QUICK)
    assert result.code == 1
    assert "gate: failed" in result.out
    assert f"error: `{older}`: age error grows by " in result.err


def test_a_gate_file_widens_the_budget(
    cli: Cli,
    data: Path,
    tiny_model: Path,
    perturb: Perturb,
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text("age_mae_years = 50.0\nage_change_years = 50\n")
    older = perturb("older.onnx", years=1.2)
    assert cli("parity", tiny_model, older, "--data", data, *QUICK, "--gate", gate).code == 0
    gate.write_text("age_years = 50.0\n")
    result = cli("parity", tiny_model, older, "--data", data, *QUICK, "--gate", gate)
    assert (result.code, result.out) == (1, "")
    assert ": no key `age_years`, the nearest is `" in result.err


def test_json_alone_and_saved(
    cli: Cli,
    data: Path,
    tiny_model: Path,
    perturb: Perturb,
    tmp_path: Path,
) -> None:
    older, saved = perturb("older.onnx", years=1.2), tmp_path / "parity.json"
    result = cli("parity", tiny_model, older, "--data", data, *QUICK, "--json", "--save", saved)
    assert result.code == 1
    figures = result.json()
    assert figures == json.loads(saved.read_text())
    assert figures["passed"] is False
    assert "age error grows" in figures["failures"][0]
    assert figures["candidates"][0]["heads"]["age"]["loss"]["mean"] > 0.05


def test_the_report_holds_page_and_figures(
    cli: Cli,
    data: Path,
    tiny_model: Path,
    perturb: Perturb,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "report"
    result = cli("parity", tiny_model, perturb("copy.onnx"), "--data", data, "--crops", "--report", folder)
    assert result.code in (0, 1), "a copy may or may not look faster"
    assert sorted(path.name for path in folder.iterdir()) == ["parity.html", "parity.json"]
    figures = json.loads((folder / "parity.json").read_text())
    assert figures["candidates"][0]["speedup"]["median"] > 0
    assert "<svg" in (folder / "parity.html").read_text()


def test_a_limit_and_a_real_detector(
    cli: Cli,
    data: Path,
    tiny_model: Path,
    tiny_detector: Path,
    perturb: Perturb,
) -> None:
    arguments = ("--limit", 5, "--detector", tiny_detector, "--no-latency", "--json")
    figures = cli("parity", tiny_model, perturb("copy.onnx"), "--data", data, *arguments).json()
    assert (figures["faces"], figures["missed_detections"]) == (5, 5)


def test_the_environment_chooses_no_run_time_of_a_gate(
    cli: Cli, data: Path, tiny_model: Path, tiny_detector: Path, tmp_path: Path, absent_runtime: None
) -> None:
    cut = ("--limit", 5, "--detector", tiny_detector)
    judged = cli("parity", tiny_model, tiny_model, "--data", data, *cut, "--no-latency")
    assert (judged.code, judged.err.count("openvino")) == (0, 0), judged.err
    timed = cli("parity", tiny_model, tiny_model, "--data", data, *cut, "--json").json()
    assert timed["bench"] is not None
    write_picture(tmp_path / "pictures" / "a.png", picture([(2, 2)]))
    detectors = (tiny_detector, tiny_detector, "--data", tmp_path / "pictures", "--no-latency")
    assert cli("parity", *detectors).code == 0


def test_detectors_are_compared_by_their_faces(cli: Cli, tiny_detector: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_picture(folder / "a.png", picture([(2, 2)]))
    result = cli("parity", tiny_detector, tiny_detector, "--data", folder, "--no-latency", "--report", tmp_path / "r")
    assert result.code == 0
    assert "1 faces in 1 images" in result.out
    assert "recall" in (tmp_path / "r" / "parity.html").read_text()


def test_a_detector_is_no_candidate_of_an_attribute_network(
    cli: Cli, data: Path, tiny_model: Path, tiny_detector: Path
) -> None:
    result = cli("parity", tiny_model, tiny_detector, "--data", data, *QUICK)
    assert (result.code, result.out) == (1, "")
    assert "it is a face detector, not an attribute network" in result.err
