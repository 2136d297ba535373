"""``benchmarks.studies.fusion_study``: its figures, its synthetic people, and a short run that keeps what the
fuser promises."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")

from benchmarks.studies import fusion_study as fusion
from benchmarks.studies.fusion_report import Row, figures, judged
from benchmarks.studies.fusion_tracks import HEIGHT, WIDTH, people_of, render
from edgeface.evaluation.datasets import LabelledFace
from edgeface.imaging.portraits import portraits


def row(index: int, frame: tuple[float, int, int], fused: tuple[float, int, int], unsure: bool = False) -> Row:
    return Row((0, 1), index, (30.0, 0, 2), frame, fused, 5.0, (unsure,) * 3, True)


def test_jitter_flips_and_errors_are_counted_within_tracks() -> None:
    rows = [row(0, (20, 0, 2), (31, 0, 2)), row(1, (40, 1, 2), (31, 0, 2)), row(2, (20, 0, 3), (31, 0, 1), True)]
    found = figures(rows)
    assert found["frame"]["age_jitter"] == pytest.approx(np.std([20, 40, 20])) and found["fused"]["age_jitter"] == 0
    assert (found["frame"]["gender_flips"], found["frame"]["race_flips"]) == (2, 1)
    assert (found["fused"]["gender_flips"], found["fused"]["race_flips"]) == (0, 1)
    assert (found["frame"]["age_mae"], found["fused"]["age_mae"]) == (10, 1)
    assert found["frame"]["gender_accuracy"] == pytest.approx(2 / 3) and found["fused"]["gender_accuracy"] == 1
    assert found["gender_flips_ratio"] == 4 and found["race_flips_ratio"] == 1
    assert found["abstained"]["race"] == {"share": pytest.approx(1 / 3), "error_given": 0.0, "error_abstained": 1.0}
    assert found["age_z"] == pytest.approx(1 / 5)


def test_a_track_of_its_own_begins_no_flip() -> None:
    first, second = row(0, (20, 0, 2), (20, 0, 2)), row(1, (40, 1, 3), (40, 1, 3))
    other = Row((0, 2), *(getattr(second, name) for name in Row.__dataclass_fields__ if name != "track"))
    assert figures([first, other])["frame"]["gender_flips"] == 0


def test_targets_are_judged_against_the_answers_per_frame() -> None:
    rows = [row(index, (30, 0, 2), (50, 1, 2)) for index in range(3)]
    found = figures(rows) | {"calls_saved": 4.0}
    met = {name: met for name, _, _, met in judged(found)}
    assert met["age MAE, years, at most"] is False and met["gender accuracy, at least"] is False
    assert met["race accuracy, at least"] is True and met["looks of the network, times fewer"] is True


def test_people_move_smoothly_and_the_same_seed_gives_the_same_clip() -> None:
    chips = [(LabelledFace(name, 0, 30.0), picture[:200, :200]) for name, picture in portraits().items()][:2]
    clips = [
        list(render(people_of(chips, 12, rng), rng)) for rng in (np.random.default_rng(5), np.random.default_rng(5))
    ]
    assert len(clips[0]) == 12 and clips[0][0].shape == (HEIGHT, WIDTH, 3)
    assert all(np.array_equal(one, other) for one, other in zip(*clips))
    person = people_of(chips, 200, np.random.default_rng(6))[0]
    steps = np.hypot(*np.diff(person.centres, axis=0).T)
    assert 0.2 < steps.mean() < steps.max() < person.sides.min() / 2
    assert person.covered.min() >= 0 and person.covered.max() <= 1 and math.isfinite(person.light.sum())


def test_a_short_run_on_validation_faces(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = shared / "data" / "utkface" / "utkface-fold2.zip"
    arguments = [
        "--data",
        str(data),
        "--folds",
        "2",
        "--clips",
        "2",
        "--frames",
        "50",
        "--save",
        str(tmp_path / "a.json"),
    ]
    monkeypatch.setattr(sys, "argv", ["fusion", *arguments])
    assert fusion.main() in (0, 3)
    out = capsys.readouterr().out
    assert "4 people" in out and "looks of the network, times fewer" in out and (tmp_path / "a.json").is_file()


def test_too_few_faces_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "20_0_1_20170101.jpg").write_bytes(b"no picture")
    monkeypatch.setattr(sys, "argv", ["fusion", "--data", str(tmp_path), "--folds", "all", "--clips", "1"])
    assert fusion.main() == 1
    assert "error: --clips 1 needs 2 faces, the data hold 1: ask for fewer" in capsys.readouterr().err
