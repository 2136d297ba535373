"""``edgeface demo``: every promised file, and the table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from edgeface.api import Face
from edgeface.cli.demo import contact_sheet, people, stills
from edgeface.imaging.image_io import read_image
from edgeface.inference.result import FrameResult
from edgeface.types import Frame
from tests.cli.conftest import Cli
from tests.conftest import ROOT
from tests.fixtures import write_tiny_detector

FILES = ["annotated.mp4", "clip.mp4", "contact.jpg", "eileen-collins.jpg", "grace-hopper.jpg", "results.jsonl"]


def test_demo_with_the_shipped_models(tmp_path: Path, cli: Cli) -> None:
    result = cli("demo", "--out", tmp_path / "out")
    assert result.code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(150))
    assert {face["track"] for line in lines for face in line["faces"]} >= {1, 2}
    portraits = [line for line in result.out.splitlines() if line.strip().startswith("portrait ")]
    assert len(portraits) == 2
    assert "frames/s" in result.out
    assert "wrote annotated.mp4, clip.mp4" in result.out
    assert read_image(tmp_path / "out" / "contact.jpg").shape == (4 * 360, 2 * 640, 3)
    claim = r'older woman is "male" in (\d+) of (\d+) frames, at (\d+) % over all of them'
    stated = re.search(claim, " ".join((ROOT / "docs" / "guide" / "results.md").read_text(encoding="utf-8").split()))
    older = [face for line in lines for face in line["faces"] if face["track"] == 2]
    assert stated and re.search(r"face 2 .* unsure ", result.out), "a gender below 75 % is not stated in the table"
    share = 100 * np.mean([face["gender_confidence"] for face in older])
    shown = [sum(face["gender"] == "male" for face in older), len(older), share]
    # encoders and processors differ by a frame or two
    np.testing.assert_allclose(shown, [int(figure) for figure in stated.groups()], atol=3)


@pytest.mark.parametrize("name", ["eileen-collins", "grace-hopper"])
def test_the_demos_portraits_are_of_women(name: str, cli: Cli) -> None:
    result = cli("predict", ROOT / "edgeface" / "assets" / "photos" / f"{name}.jpg", "--json")
    (face,) = json.loads(result.out)["faces"]
    assert face["gender"] == "female" and face["age"] >= 18


def test_demo_without_any_face(tmp_path: Path, cli: Cli, tiny_model: Path) -> None:
    blind = write_tiny_detector(tmp_path / "blind.onnx", gain=0)
    result = cli("demo", "--out", tmp_path / "out", "--model", tiny_model, "--detector", blind)
    assert result.code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert "150 frames, 0 faces, 0 people" in result.out


def test_people_are_told_by_their_tracks() -> None:
    def face(track: int | None, age: float, race: str) -> Face:
        return Face((0, 0, 9, 9), 0.5, None, track, age, 5.0, "female", 0.9, race, 0.8)

    frame = Frame(np.zeros((9, 9, 3), np.uint8), 0.0)
    seen = [(face(2, 30, "Asian"), face(None, 99, "White")), (face(2, 40, "Asian"),), (face(2, 41, "White"),)]
    results = [FrameResult(frame, faces) for faces in seen]
    ((track, typical),) = people(results)
    assert (track, typical.age, typical.race) == (2, 37.0, "Asian")
    assert [len(stills(results, count)) for count in (2, 3, 9)] == [2, 3, 3]


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (2, 1), (3, 2)])
def test_contact_sheets_hold_every_picture(count: int, rows: int) -> None:
    pictures = [np.full((30, 80, 3), 100 + number, np.uint8) for number in range(count)]
    sheet = contact_sheet(pictures, cell=(40, 20))
    assert sheet.shape == (20 * rows, 80, 3)
    for number in range(count):
        row, column = divmod(number, 2)
        assert (sheet[20 * row + 10, 40 * column + 20] == 100 + number).all()
