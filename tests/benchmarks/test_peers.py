"""Peers: whatever keeps one from running is a reason, those that run our network give our answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra `dev` is not installed")

from benchmarks.peers.alignment import Align, opencv, pillow
from benchmarks.peers.base import Call, Contender, Unavailable, contender, required
from benchmarks.peers.detectors import DETECTORS, ours, without_model
from benchmarks.peers.runtimes import RUNTIMES, Setting, onnx_runtime
from benchmarks.peers.toolkits import TOOLKITS
from benchmarks.suites.faces import agreement, crowd
from edgeface.imaging.preprocess import align
from edgeface.inference.attributes import landmarks_of
from edgeface.inference.detector import FaceDetector, shipped_model
from edgeface.spec.metadata import model_spec
from tests.fixtures import tiny_spec


def test_a_peer_that_cannot_be_opened_is_a_row_with_the_reason() -> None:
    def missing() -> tuple[Call, dict[str, object]]:
        raise Unavailable("no such thing here")

    assert contender("peer", missing) == Contender("peer", None, "no such thing here")


def test_a_peer_that_breaks_when_called_is_a_row_with_its_error() -> None:
    def broken() -> object:
        raise ValueError("first line\nsecond")

    assert contender("peer", lambda: (broken, {})).reason == "ValueError: first line"


def test_a_package_that_is_missing_names_the_way_to_it() -> None:
    with pytest.raises(Unavailable, match="`no_such_package` is not installed: pip install no-such"):
        required("no_such_package", "no-such")


@pytest.mark.parametrize("name", [name for name in RUNTIMES if "compile" not in name])
def test_run_times_give_our_answers_or_say_why_not(tmp_path: Path, name: str) -> None:
    model = shipped_model("attributes.onnx")
    spec, setting = model_spec(model), Setting(model, 1, 1, tmp_path)
    crops = np.random.default_rng(0).integers(0, 256, setting.shape, np.uint8)
    wanted = onnx_runtime(setting)(crops)
    try:
        found = RUNTIMES[name](setting)(crops)
    except Unavailable as error:
        pytest.skip(str(error))
    assert agreement(spec, wanted, found)["same"]


def test_our_detector_finds_everybody_in_a_crowd() -> None:
    scene = crowd(4, 2, 1280, 720)
    assert scene.found(ours()(scene.picture)) == (8, 0)
    assert scene.found(np.array([[0, 0, 9, 9]])) == (0, 1)


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_that_run_find_a_face(name: str) -> None:
    scene = crowd(1, 1, 512, 512)
    try:
        boxes = DETECTORS[name]()(scene.picture)
    except Unavailable as error:
        pytest.skip(str(error))
    assert scene.found(boxes)[0] == 1


@pytest.mark.parametrize("name", TOOLKITS)
def test_toolkits_that_run_find_a_person(name: str) -> None:
    scene = crowd(1, 1, 512, 512)
    try:
        people = TOOLKITS[name]()(scene.picture)
    except Unavailable as error:
        pytest.skip(str(error))
    assert scene.found(np.array([person.box for person in people]))[0] == 1
    assert people[0].gender in ("male", "female") and 0 < people[0].age < 120


def test_a_detector_without_a_model_says_so() -> None:
    with pytest.raises(Unavailable, match="`mediapipe`: no model"):
        without_model("mediapipe", "no model")()


@pytest.mark.parametrize("way", [opencv, pillow])
def test_other_ways_cut_the_same_crop_where_a_face_keeps_its_size(way: Align) -> None:
    picture = crowd(4, 2, 1280, 720).picture
    with FaceDetector(threads=1) as detector:
        landmarks = landmarks_of(detector(picture))[:1]
    alignment = tiny_spec().alignment
    try:
        crops = way(picture, landmarks, alignment, 128)
    except Unavailable as error:
        pytest.skip(str(error))
    apart = np.abs(crops.astype(float) - align(picture, landmarks, alignment, 128)).mean()
    assert apart < 2
