"""The gate: budgets from a file, and sentences that name what failed, by how much, and for whom."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from edgeface.bench.model_speed import Speedup
from edgeface.errors import ConfigError
from edgeface.evaluation.labelled_crops import LabelledCrops
from edgeface.parity import Budget, ParityReport, compare, failures, read_budget
from edgeface.parity.report import GroupLoss
from edgeface.parity.stats import Loss
from tests.conftest import ROOT
from tests.parity.conftest import Perturb
from tests.parity.test_attribute_parity import PALER

UNTIMED = Budget(latency=False)
MOVING = dataclasses.replace(UNTIMED, flips=1, age_change_years=100)
"""Answers may move, as long as they get no worse."""


def report_of(reference: Path, candidate: Path, crops: LabelledCrops) -> ParityReport:
    return compare(reference, [candidate], crops, latency_s=0, threads=1)


def with_speedup(report: ParityReport, *figures: float) -> ParityReport:
    candidate = dataclasses.replace(report.candidates[0], speedup=Speedup(*figures))
    return dataclasses.replace(report, candidates=(candidate,))


def test_a_copy_keeps_the_budget(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    assert failures(report_of(tiny_model, perturb("copy.onnx"), crops)) == []


def test_an_age_loss_is_named(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    candidate = perturb("older.onnx", years=1.1)
    sentences = failures(report_of(tiny_model, candidate, crops))
    assert sentences[0].startswith(f"`{candidate}`: age error grows by ")
    assert sentences[0].endswith("240 faces), allowed are 0.05")
    assert re.search(r"the median face's age moves by \d\.\d\d years, allowed are 0\.2$", sentences[1])
    assert "age error of " in sentences[2]
    assert len(sentences) == 3


def test_a_loss_of_one_group_fails_on_the_group(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    """With the bound on all faces out of the way: women lose a fifth of the right answers, men none."""
    report = report_of(tiny_model, perturb("paler.onnx", gender_weights=PALER), crops)
    only = failures(report, dataclasses.replace(MOVING, accuracy_points=100))
    assert len(only) == 1
    assert "gender accuracy of " in only[0]
    assert "95 % interval" in only[0]
    assert only[0].endswith("more group figures break this bound")
    assert "allowed are 1 beyond the interval" in only[0]
    assert failures(report, dataclasses.replace(MOVING, accuracy_points=100, group_points=100)) == []
    (flipped,) = failures(report, dataclasses.replace(UNTIMED, accuracy_points=100, group_points=100))
    assert re.search(r"`: \d+\.\d% of the faces change their gender, allowed are 2\.0%$", flipped)


def test_a_gain_breaks_no_bound(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    assert failures(report_of(perturb("older.onnx", years=1.1), tiny_model, crops), MOVING) == []


@pytest.mark.parametrize(
    ("figures", "fails"), [((1.5, 1.4, 1.6), False), ((1.02, 0.97, 1.07), True), ((0.6, 0.5, 0.7), True)]
)
def test_a_candidate_has_to_be_faster(
    tiny_model: Path, perturb: Perturb, crops: LabelledCrops, figures: tuple[float, float, float], fails: bool
) -> None:
    report = with_speedup(report_of(tiny_model, perturb("copy.onnx"), crops), *figures)
    sentences = failures(report)
    assert bool(sentences) is fails
    if fails:
        assert f"it is not faster than `{tiny_model}` on this machine: {figures[0]:.2f} times as fast" in sentences[0]
    assert failures(report, UNTIMED) == []


def test_answers_that_are_no_numbers_fail(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    sentences = failures(report_of(tiny_model, perturb("nan.onnx", years=float("nan")), crops))
    assert len(sentences) == 1
    assert sentences[0].endswith("240 of 240 faces are answered with NaN or infinity")


def test_every_candidate_is_named(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    paths = [perturb("a.onnx", years=1.1), perturb("fine.onnx"), perturb("b.onnx", years=np.float32(0.9))]
    sentences = failures(compare(tiny_model, paths, crops, latency_s=0), UNTIMED)
    assert {sentence.split(":")[0] for sentence in sentences} == {f"`{paths[0]}`", f"`{paths[2]}`"}


def test_a_gate_file(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text("age_mae_years = 1\nlatency = false\n")
    assert read_budget(path) == dataclasses.replace(Budget(), age_mae_years=1, latency=False)
    path.write_text("")
    assert read_budget(path) == Budget()


def test_the_example_is_the_default() -> None:
    assert read_budget(ROOT / "benchmarks" / "gate.toml") == Budget()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("age_mae = 1", ": no key `age_mae`, the nearest is `age_mae_years`"),
        ("latency = 1", "`latency`: expected bool, found 1"),
        ("age_mae_years = -1", "`age_mae_years`: expected 0 or more, found -1.0"),
        ("group_points = true", "`group_points`: expected float, found True"),
        ("group_points = nan", "`group_points`: expected 0 or more, found nan"),
        ("group_faces = 1.5", "`group_faces`: expected int, found 1.5"),
        ("accuracy_points = 'x'", "`accuracy_points`: expected float, found 'x'"),
        ("detector_recall = 99", "`detector_recall`: expected 0 to 1, found 99.0"),
        ("= 1", "is not valid TOML"),
    ],
)
def test_bad_gate_files(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_budget(path)
    with pytest.raises(ConfigError, match="no gate at `.*none.toml`"):
        read_budget(tmp_path / "none.toml")


def test_the_worst_group_is_judged_by_its_interval(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    """A mean beyond the bound may be chance; only an interval that lies beyond it whole breaks it."""
    report = report_of(tiny_model, perturb("copy.onnx"), crops)
    budget = dataclasses.replace(UNTIMED, group_points=1.0)
    for low, broken in ((0.4, False), (1.0, False), (1.1, True)):
        group = GroupLoss("race", "Others", "gender", Loss(40, 3.0, low, 6.0))
        candidate = dataclasses.replace(report.candidates[0], groups=(group,))
        found = failures(dataclasses.replace(report, candidates=(candidate,)), budget)
        assert bool(found) is broken, (low, found)
