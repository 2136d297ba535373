"""Evaluation counts what it should: figures from known answers, misses, broken images, groups."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeface.api import AttributeEstimator, FaceDetector
from edgeface.errors import DataError
from edgeface.evaluation.datasets import find_faces
from edgeface.evaluation.evaluate import evaluate
from edgeface.spec.model import ModelSpec
from edgeface.types import Attributes, Faces, Image
from tests.fixtures import SIZE, picture, tiny_detector, tiny_model, tiny_spec, write_picture  # noqa: F401


class Oracle:
    """Reads its answer from a crop's colour: red = age, green = 100 × gender, blue = 50 × race."""

    spec: ModelSpec = tiny_spec()

    def from_crops(self, crops: NDArray[np.uint8]) -> Attributes:
        colour = np.rint(crops.mean(axis=(1, 2)))
        gender = np.eye(2)[np.rint(colour[:, 1] / 100).astype(int)]
        race = np.eye(5)[np.rint(colour[:, 2] / 50).astype(int)]
        return Attributes(colour[:, 0], np.ones(len(crops)), gender, race)


def person(folder: Path, number: int, labels: tuple[int, int, int], answer: tuple[int, int, int]) -> None:
    """An image named after its labels, coloured so that the oracle answers ``answer`` (age, gender, race)."""
    age, gender, race = answer
    colour = np.array([age, 100 * gender, 50 * race], np.uint8)
    name = "_".join(map(str, labels))
    write_picture(folder / f"{name}_{number}.png", np.broadcast_to(colour, (40, 40, 3)))


def no_face(image: Image) -> Faces:
    return Faces.empty()


def face_in_the_middle(image: Image) -> Faces:
    height, width = image.shape[:2]
    box = np.array([[0.1 * width, 0.1 * height, 0.9 * width, 0.9 * height]])
    marks = np.array([[[0.35, 0.4], [0.65, 0.4], [0.5, 0.6], [0.4, 0.8], [0.6, 0.8]]]) * [width, height]
    return Faces(box, [0.9], marks)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    person(tmp_path, 1, (30, 0, 0), (30, 0, 0))
    person(tmp_path, 2, (30, 1, 0), (34, 1, 0))
    person(tmp_path, 3, (60, 1, 4), (50, 0, 1))
    person(tmp_path, 4, (2, 0, 1), (2, 0, 1))
    return tmp_path


def test_figures_of_known_answers(people: Path) -> None:
    figures = evaluate(Oracle(), find_faces([people])).to_dict()
    assert figures["n"] == 4
    assert figures["missed_detections"] == 0
    assert figures["age_mae"] == pytest.approx((0 + 4 + 10 + 0) / 4)
    assert figures["age_rmse"] == pytest.approx(np.sqrt(116 / 4))
    assert figures["age_cs5"] == 0.75
    assert figures["gender_accuracy"] == 0.75
    assert figures["gender_f1"] == pytest.approx(2 / 3)
    assert figures["race_accuracy"] == 0.75
    assert figures["race_recalls"] == {"White": 1.0, "Black": 1.0, "Asian": None, "Indian": None, "Others": 0.0}
    assert figures["race_predicted"] == {"White": 2, "Black": 2, "Asian": 0, "Indian": 0, "Others": 0}
    assert figures["gender_predicted"] == {"male": 3, "female": 1}
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_groups_are_parts_of_the_whole(people: Path) -> None:
    groups = evaluate(Oracle(), find_faces([people])).to_dict()["groups"]
    assert {name: group["n"] for name, group in groups["gender"].items()} == {"male": 2, "female": 2}
    assert {name: group["n"] for name, group in groups["race"].items()} == {"White": 2, "Black": 1, "Others": 1}
    assert {name: group["n"] for name, group in groups["age"].items()} == {"0-2": 1, "30-39": 2, "60-69": 1}
    assert groups["gender"]["female"]["age_mae"] == pytest.approx(7.0)
    assert groups["age"]["60-69"]["race_accuracy"] == 0.0


def test_missed_faces_are_counted_and_still_answered(people: Path) -> None:
    missed = evaluate(Oracle(), find_faces([people]), no_face)
    assert missed.missed_detections == 4
    assert missed.to_dict()["age_mae"] == pytest.approx(3.5)
    assert evaluate(Oracle(), find_faces([people]), face_in_the_middle).missed_detections == 0


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_does_not_change_the_answer(people: Path, batch: int) -> None:
    seen: list[tuple[int, int]] = []
    result = evaluate(Oracle(), find_faces([people]), batch=batch, progress=lambda *at: seen.append(at))
    assert result.to_dict() == evaluate(Oracle(), find_faces([people])).to_dict()
    assert seen[-1] == (4, 4)
    assert len(seen) == -(-4 // batch)


def test_broken_pictures_are_named_and_the_others_answered(people: Path) -> None:
    (people / "9_0_0_9.jpg").write_text("no image")
    result = evaluate(Oracle(), find_faces([people]), batch=1)
    assert result.to_dict()["n"] == 4
    assert result.unreadable == ("`9_0_0_9.jpg` cannot be decoded as an image: it holds text",)


def test_only_broken_pictures(tmp_path: Path) -> None:
    (tmp_path / "9_0_0_9.jpg").write_text("no image")
    with pytest.raises(DataError, match="no image to evaluate on: `9_0_0_9.jpg` cannot be decoded"):
        evaluate(Oracle(), find_faces([tmp_path]))
    with pytest.raises(DataError, match="no image to evaluate on: the data are empty"):
        evaluate(Oracle(), [])


def test_age_intervals_stand_in_for_ages(people: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    rows = [
        "30_0_0_1.png,30-39,Male,White",
        "30_1_0_2.png,20-29,Female,White",
        "60_1_4_3.png,70+,Female,Middle Eastern",
    ]
    labels.write_text("\n".join(["file,age,gender,race", *rows]))
    result = evaluate(Oracle(), find_faces([people], labels))
    figures = result.to_dict()
    assert "age_mae" not in figures
    assert figures["age_interval_accuracy"] == pytest.approx(1 / 3)
    assert figures["age_interval_within1"] == pytest.approx(2 / 3)
    assert len(result.skipped) == 1


def test_a_real_network_and_a_real_detector(tmp_path: Path, tiny_model: Path, tiny_detector: Path) -> None:  # noqa: F811
    write_picture(tmp_path / "34_1_0_1.png", picture([(3, 3)], 256, 256))
    write_picture(tmp_path / "34_1_0_2.png", picture([], 256, 256))
    with AttributeEstimator(tiny_model) as estimator, FaceDetector(tiny_detector, threads=1) as detector:
        figures = evaluate(estimator, find_faces([tmp_path]), detector).to_dict()
    assert figures["n"] == 2
    assert figures["missed_detections"] == 1
    assert figures["age_mae"] < 5
