"""Ranges of a calibration set: remembered, but never without looking whether the set is still what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgeface.calibration import CalibrationSet
from edgeface.calibration.feeds import calibration_ranges
from edgeface.errors import CalibrationError
from edgeface.evaluation.datasets import FaceSet, find_faces
from tests.calibration.networks import write_conv_model

pytestmark = pytest.mark.usefixtures("patterns_as_faces")

pytest.importorskip("onnx", reason="the extra `quantize` is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ranges"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_conv_model(tmp_path / "conv.onnx")


Spoil = Callable[[CalibrationSet, Path], CalibrationSet]


def without_its_first_file(drawn: CalibrationSet, crowd: Path) -> CalibrationSet:
    (crowd / drawn.files[0].name).unlink()
    return drawn


def with_a_changed_file(drawn: CalibrationSet, crowd: Path) -> CalibrationSet:
    (crowd / drawn.files[0].name).write_bytes((crowd / drawn.files[1].name).read_bytes())
    return drawn


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (without_its_first_file, "1 of its 12 files are not in the data"),
        (with_a_changed_file, "1 of its 12 files have other bytes than when it was drawn"),
        (lambda drawn, crowd: replace(drawn, size=13), "states size 13 and lists 12 files"),
        (lambda drawn, crowd: replace(drawn, folds=(1, 3)), "was drawn from fold 1, which is held out for judging"),
    ],
)
def test_known_ranges_do_not_excuse_a_set(
    model: Path, drawn: CalibrationSet, crowd: Path, spoil: Spoil, sentence: str
) -> None:
    known = calibration_ranges(model, drawn, find_faces([crowd]), "minmax")
    seen: list[int] = []
    again = calibration_ranges(model, drawn, find_faces([crowd]), "minmax", lambda *at: seen.append(1))
    assert (again, seen) == (known, []), "the second time nothing is computed"
    with pytest.raises(CalibrationError, match=sentence):
        calibration_ranges(model, spoil(drawn, crowd), find_faces([crowd]), "minmax")


def test_a_detector_sees_the_beginning_of_a_set_and_its_order_counts(
    tiny_detector: Path, drawn: CalibrationSet, data: tuple[FaceSet, ...], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeface.calibration.feeds._DETECTOR_PICTURES", 2)
    backwards = replace(drawn, files=drawn.files[::-1])
    assert backwards.digest == drawn.digest
    first, other = (calibration_ranges(tiny_detector, item, data, "minmax") for item in (drawn, backwards))
    assert dict(first) != dict(other)
    assert first.set_digest == other.set_digest == drawn.digest
    assert len(list(cache.iterdir())) == 2
    assert calibration_ranges(tiny_detector, drawn, data, "minmax") == first
