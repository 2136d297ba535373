"""Comparing detectors: what is missed, what is extra, how far landmarks move, and images from anywhere."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import ArtifactError, ConfigError, DataError
from edgeface.parity import Budget
from edgeface.parity.detector_images import Pictures
from edgeface.parity.detector_parity import DetectorReport, compare_detectors, detector_failures, matches
from edgeface.types import Faces
from tests.fixtures import picture, write_picture, write_tiny_detector
from tests.parity.conftest import Perturb

UNTIMED = Budget(latency=False)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten images with two faces each, and one without."""
    folder = tmp_path / "pictures"
    for number in range(10):
        write_picture(folder / f"{number}.png", picture([(2, 2), (7, 5)]))
    write_picture(folder / "none.png", picture([]))
    return folder


def compared(reference: Path, candidate: Path, pictures: Path) -> DetectorReport:
    return compare_detectors(reference, [candidate], [pictures], latency_s=0, threads=1)


def faces(*boxes: tuple[float, float, float, float]) -> Faces:
    return Faces(boxes, [0.9] * len(boxes), np.zeros((len(boxes), 5, 2)))


def test_matching_is_one_to_one_and_best_first() -> None:
    reference = faces((0, 0, 10, 10), (100, 0, 110, 10))
    candidate = faces((0, 0, 10, 8), (0, 0, 10, 10), (104, 0, 114, 10))
    assert matches(reference, candidate) == [(0, 1)]
    assert matches(reference, Faces.empty()) == []


def test_a_copy_finds_the_same(tiny_detector: Path, pictures: Path) -> None:
    report = compared(tiny_detector, tiny_detector, pictures)
    (found,) = report.candidates
    assert (report.pictures, report.faces) == (11, 20)
    assert (found.found, found.missed, found.extra) == (20, 0, 0)
    assert (found.recall.fraction, found.recall.low, found.precision.fraction) == (1, 1, 1)
    assert found.drift_p99 == 0
    assert detector_failures(report) == []


def test_a_blind_candidate_misses_all(tiny_detector: Path, pictures: Path, tmp_path: Path) -> None:
    blind = write_tiny_detector(tmp_path / "blind.onnx", gain=0)
    report = compared(tiny_detector, blind, pictures)
    (found,) = report.candidates
    assert (found.missed, found.recall.fraction) == (20, 0)
    assert math.isnan(found.precision.fraction)
    assert detector_failures(report) == [
        f"`{blind}`: it misses 20 of the reference's 20 faces: recall 0.00% (95 % interval 0.00% to 0.00%), "
        "allowed are 99.00% or more"
    ]
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_candidate_that_sees_more_has_extra_faces(tiny_detector: Path, pictures: Path, perturb: Perturb) -> None:
    for number in range(5):
        write_picture(pictures / f"pale{number}.png", _pale())
    report = compared(tiny_detector, perturb("keen.onnx", source=tiny_detector, redness=4.0), pictures)
    (found,) = report.candidates
    assert (found.missed, found.extra) == (0, 5)
    assert "5 of its 25 faces are none of the reference's" in detector_failures(report)[0]


def _pale() -> np.ndarray:
    pixels = picture([])
    pixels[64:96, 64:96] = (130, 80, 80)
    return pixels


def test_landmarks_that_move_are_measured_in_eye_distances(
    tiny_detector: Path, pictures: Path, perturb: Perturb
) -> None:
    wider = perturb("wider.onnx", source=tiny_detector, offsets=1.1)
    (found,) = compared(tiny_detector, wider, pictures).candidates
    assert found.recall.fraction == 1
    assert 0.01 < found.drift_p50 <= found.drift_p99 < 0.2


def test_latency_of_detectors(tiny_detector: Path, pictures: Path, perturb: Perturb) -> None:
    report = compare_detectors(
        tiny_detector, [perturb("copy.onnx", source=tiny_detector)], [pictures], limit=1, latency_s=0.02
    )
    assert report.bench is not None
    assert report.candidates[0].speedup == report.bench.speedup(report.bench.rows[1])


def test_nothing_to_judge_by(tiny_detector: Path, tiny_model: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "empty" / "none.png", picture([]))
    with pytest.raises(DataError, match="finds no face in 1 images, so nothing can be judged"):
        compared(tiny_detector, tiny_detector, tmp_path / "empty")
    with pytest.raises(ArtifactError, match="is no face detector"):
        compared(tiny_detector, tiny_model, tmp_path / "empty")
    with pytest.raises(ConfigError, match="no candidate to compare"):
        compare_detectors(tiny_detector, [], [tmp_path])


def test_pictures_of_folders_and_zips(pictures: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(pictures / "0.png", "a/0.png")
        archive.writestr("a/broken.png", b"no picture")
        archive.writestr("__MACOSX/._0.png", b"shadow")
        archive.writestr("readme.txt", b"text")
    found = Pictures([pictures, tmp_path / "more.zip"])
    assert found.count == 13
    assert len(list(found)) == 12
    assert len(found.unreadable) == 1
    assert "`a/broken.png` cannot be decoded" in found.unreadable[0]


@pytest.mark.parametrize("limit", [1, 4, 11, 99])
def test_a_limit_thins_evenly(pictures: Path, limit: int) -> None:
    found = Pictures([pictures], limit)
    assert found.count == min(limit, 11)
    assert len(list(found)) == min(limit, 11)


def test_zips_that_hold_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", b"text")
    with pytest.raises(DataError, match="cannot read `.*broken.zip`: expected a zip of images"):
        Pictures([tmp_path / "broken.zip"])
    with pytest.raises(DataError, match="no image in `.*empty.zip`"):
        Pictures([tmp_path / "empty.zip"])
