"""The shipped set is what it says, fits the data, and stops fitting when a test image slips in."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgeface.calibration import HELD_OUT, TRAINING_FOLDS, CalibrationFile, CalibrationSet, check_set, draw, read_set
from edgeface.errors import CalibrationError
from edgeface.evaluation.datasets import FaceSet, find_faces, fold_of, in_folds
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def shipped() -> CalibrationSet:
    return read_set(ROOT / "calibration" / "utkface-512.toml")


@pytest.fixture(scope="module")
def utkface(shared: Path) -> tuple[FaceSet, ...]:
    return find_faces([shared / "data" / "utkface"])


def test_it_states_what_it_lists(shipped: CalibrationSet) -> None:
    assert shipped.name == "utkface-512"
    assert shipped.stated_digest == shipped.digest
    assert len({file.sha256 for file in shipped.files}) == shipped.size == 512
    assert shipped.folds == TRAINING_FOLDS
    assert "non-commercial research only" in shipped.licence


def test_no_name_is_of_a_held_out_fold(shipped: CalibrationSet) -> None:
    stamps = [file.name.rsplit("_", 1)[1].split(".")[0] for file in shipped.files]
    assert {fold_of(stamp) for stamp in stamps} == set(TRAINING_FOLDS)


def test_it_passes_its_check(shipped: CalibrationSet, utkface: tuple[FaceSet, ...]) -> None:
    coverage = check_set(shipped, utkface)
    assert coverage.size == 512
    assert coverage.compared > 4000
    assert len(coverage.files) == 90
    assert all(coverage.files[name] >= min(5, there) for name, there in coverage.available.items())
    assert max(coverage.files.values()) == 6


def test_it_is_drawn_again_alike(shipped: CalibrationSet, utkface: tuple[FaceSet, ...]) -> None:
    words = {"name": shipped.name, "source": shipped.source, "licence": shipped.licence}
    assert draw(utkface, shipped.size, shipped.seed, **words) == shipped


def test_a_test_picture_fails_it(shipped: CalibrationSet, utkface: tuple[FaceSet, ...]) -> None:
    name = next(face.name for part in utkface for face in in_folds(part.faces, HELD_OUT[1:]))
    part = next(part for part in utkface if any(face.name == name for face in part.faces))
    sha256 = hashlib.sha256(next(part.read([name]))).hexdigest()
    files = (*shipped.files, CalibrationFile(name, sha256, "male White 20-29"))
    with pytest.raises(CalibrationError, match=f"`{re.escape(name)}` is of fold 1, which is held out for judging"):
        check_set(replace(shipped, files=files, size=513), utkface)
