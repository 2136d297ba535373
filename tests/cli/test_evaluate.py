"""``edgeface evaluate``: the promised JSON, tables, what is left out, folds and limits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeface.common.files import sha256_file
from edgeface.evaluation.datasets import fold_of
from tests.cli.conftest import Cli
from tests.fixtures import picture, write_picture

PROMISED = ("age_mae", "age_rmse", "age_cs5", "gender_accuracy", "gender_f1", "race_accuracy", "race_f1")
STAMPS = [str(number) for number in range(100) if fold_of(str(number)) == 1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four chips of fold 1: two grey ones of 34-year-old men, two red ones of women aged 32 and 60."""
    folder = tmp_path / "data"
    grey = np.full((64, 64, 3), 96, np.uint8)
    for stamp, age, gender in zip(STAMPS, (34, 34, 32, 60), (0, 0, 1, 1)):
        write_picture(folder / f"{age}_{gender}_0_{stamp}.png", picture([(3, 3)], 256, 256) if gender else grey)
    return folder


def test_json_holds_what_is_promised(
    data: Path, tmp_path: Path, cli: Cli, tiny_model: Path, tiny_detector: Path
) -> None:
    out = tmp_path / "metrics.json"
    result = cli("evaluate", tiny_model, "--data", data, "--folds", 1, "--json", out, "--detector", tiny_detector)
    figures = json.loads(out.read_text())
    assert result.code == 0
    assert (figures["n"], figures["missed_detections"]) == (4, 2)
    assert all(isinstance(figures[name], float) for name in PROMISED)
    assert all(0 <= figures[name] <= 1 for name in PROMISED[2:])
    assert set(figures["groups"]) >= {"gender", "race", "age"}
    assert figures["groups"]["gender"]["male"]["n"] == 2
    assert (figures["model"], figures["model_sha256"]) == ("tiny.onnx", sha256_file(tiny_model))
    assert (figures["folds"], figures["crops"]) == ([1], "aligned")


def test_tables_for_people(data: Path, cli: Cli, tiny_model: Path, tiny_detector: Path) -> None:
    result = cli("evaluate", tiny_model, "--data", data, "--detector", tiny_detector)
    assert result.code == 0
    assert "tiny.onnx, folds 0, 1" in result.out
    assert "missed by the detector" in result.out
    assert "age: mean absolute error, years" in result.out
    assert "female" in result.out
    assert "60-69" in result.out


def test_json_on_stdout_is_alone(data: Path, cli: Cli, tiny_model: Path) -> None:
    result = cli("evaluate", tiny_model, "--data", data, "--crops", "--json", "-")
    assert result.json()["crops"] == "centre"
    assert result.json()["missed_detections"] == 0


def test_crops_need_no_detector_and_say_nothing_of_misses(data: Path, cli: Cli, tiny_model: Path) -> None:
    result = cli("evaluate", tiny_model, "--data", data, "--crops", "--detector", "/none.onnx")
    assert result.code == 0
    assert "missed" not in result.out


def test_limit_and_several_data(data: Path, cli: Cli, tiny_model: Path) -> None:
    options = ("--crops", "--json", "-", "--data", data)
    assert cli("evaluate", tiny_model, *options, "--limit", 3).json()["n"] == 3
    assert cli("evaluate", tiny_model, *options, "--data", data).json()["n"] == 8


def test_fairface_form(data: Path, tmp_path: Path, cli: Cli, tiny_model: Path) -> None:
    labels = tmp_path / "labels.csv"
    rows = [f"{path.name},30-39,Male,Indian" for path in sorted(data.iterdir())]
    labels.write_text("\n".join(["file,age,gender,race", *rows]))
    result = cli("evaluate", tiny_model, "--data", data, "--labels", labels, "--folds", "all", "--crops", "--json", "-")
    figures = result.json()
    assert "age_mae" not in figures
    assert 0 < figures["age_interval_accuracy"] <= figures["age_interval_within1"] <= 1
    assert figures["folds"] == list(range(10))
    assert figures["race_accuracy"] == 0


def test_what_is_left_out_is_named(data: Path, cli: Cli, tiny_model: Path) -> None:
    for number in range(5):
        write_picture(data / f"39_{number}.png")
    (data / f"40_0_0_{STAMPS[0]}.jpg").write_text("no image")
    result = cli("evaluate", tiny_model, "--data", data, "--crops", "--json", "-")
    assert result.code == 1
    assert f"error: `40_0_0_{STAMPS[0]}.jpg` cannot be decoded as an image: it holds text" in result.err
    assert "skipped 5 without a usable label: 39_0.png (2 fields, expected [age]" in result.err
    assert "and 2 more" in result.err
    assert (result.json()["n"], len(result.json()["skipped"]), len(result.json()["unreadable"])) == (4, 5, 1)


@pytest.mark.parametrize("model", [(), ("fairface",)])
def test_the_shipped_models_by_name(tmp_path: Path, cli: Cli, model: tuple[str, ...]) -> None:
    write_picture(tmp_path / "30_0_1_20170101.png")
    result = cli("evaluate", *model, "--data", tmp_path, "--crops", "--folds", "all", "--json", "-")
    assert result.code == 0, result.err
    assert result.json()["model"] == ("attributes-fairface.onnx" if model else "attributes.onnx")
