"""``edgeface predict``: JSON, CSV, images, crops, and one bad file among many."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from edgeface.imaging.image_io import read_image
from edgeface.spec.model import RACES
from tests.cli.conftest import Cli, write_clip
from tests.fixtures import picture, write_picture

FACE_KEYS = [
    *("box", "score", "landmarks", "track", "age", "age_std"),
    *("gender", "gender_confidence", "race", "race_confidence", "abstained"),
]


def test_json_is_one_line_a_picture(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    write_picture(tmp_path / "a.png", picture([(2, 2), (7, 5)]))
    write_picture(tmp_path / "b.png", picture([], 200, 100))
    result = cli("predict", tmp_path, "--json", *models)
    assert (result.code, result.err) == (0, "")
    first, second = result.json_lines()
    assert list(first) == ["path", "width", "height", "faces"]
    assert (first["path"], first["width"], first["height"]) == (str(tmp_path / "a.png"), 320, 256)
    assert sorted(face["box"] for face in first["faces"]) == [[16, 16, 144, 144], [176, 112, 304, 240]]
    assert list(first["faces"][0]) == FACE_KEYS
    assert first["faces"][0]["track"] is None
    assert np.shape(first["faces"][0]["landmarks"]) == (5, 2)
    assert first["faces"][0]["gender"] == "female"
    assert first["faces"][0]["race"] in RACES
    assert (second["width"], second["height"], second["faces"]) == (200, 100, [])


def test_people_get_a_table(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    write_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b.png", picture([]))
    result = cli("predict", tmp_path / "a.png", tmp_path / "b.png", *models)
    assert result.code == 0
    assert "unsure" in result.out, "the tiny network is 72 % sure of a gender"
    assert "female" not in result.out
    assert "b.png" in result.out
    assert "no face" in result.out
    assert "\x1b" not in result.out, "no colours where there is no terminal"


def test_csv_is_one_row_a_face(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    write_picture(tmp_path / "a.png", picture([(2, 2), (7, 5)]))
    assert cli("predict", tmp_path / "a.png", "--csv", tmp_path / "out" / "faces.csv", *models).code == 0
    with (tmp_path / "out" / "faces.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["face"] for row in rows] == ["0", "1"]
    assert {float(row["x1"]) for row in rows} == {16.0, 176.0}
    assert rows[0]["source"] == str(tmp_path / "a.png")


def test_annotated_pictures_differ_where_the_face_is(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    original = picture([(2, 2)])
    write_picture(tmp_path / "in" / "a.png", original)
    assert cli("predict", tmp_path / "in", "--annotate", tmp_path / "out", *models).code == 0
    drawn = read_image(tmp_path / "out" / "a.png")
    assert drawn.shape == original.shape
    assert (drawn[10:150, 10:150] != original[10:150, 10:150]).any()
    assert (drawn[200:, 250:] == original[200:, 250:]).all()
    assert (read_image(tmp_path / "in" / "a.png") == original).all()


def test_annotating_never_overwrites_the_inputs(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    path = write_picture(tmp_path / "a.png")
    before = path.read_bytes()
    for source in (tmp_path, path):
        result = cli("predict", source, "--annotate", tmp_path, *models)
        assert result.code == 1
        assert "would overwrite the input" in result.err
    assert path.read_bytes() == before


def test_crops_are_answered_without_a_detector(tmp_path: Path, cli: Cli, tiny_model: Path) -> None:
    for number in range(5):
        write_picture(tmp_path / f"{number}.png", np.full((64, 48, 3), 40 * number, np.uint8))
    result = cli(
        "predict", tmp_path, "--crops", "--json", "--batch", 2, "--model", tiny_model, "--detector", "/none.onnx"
    )
    assert result.code == 0
    faces = [line["faces"] for line in result.json_lines()]
    assert [len(group) for group in faces] == [1] * 5
    assert [group[0]["age"] for group in faces] == pytest.approx([40 * n * 90 / 255 for n in range(5)], abs=0.01)
    assert faces[0][0]["box"] == [0, 0, 48, 64]
    assert faces[0][0]["landmarks"] is None


def test_one_bad_file_among_many(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_text("not an image")
    write_picture(tmp_path / "c.png")
    result = cli("predict", tmp_path, tmp_path / "gone.jpg", "--json", "--csv", tmp_path / "faces.csv", *models)
    assert result.code == 1
    assert [Path(line["path"]).name for line in result.json_lines()] == ["a.png", "c.png"]
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert f"`{tmp_path / 'b.jpg'}` cannot be decoded as an image: it holds text" in errors[0]
    assert f"no image at `{tmp_path / 'gone.jpg'}`: no such file or directory" in errors[1]
    assert "2 of the inputs could not be used" in result.err
    assert len((tmp_path / "faces.csv").read_text().splitlines()) == 3


def test_a_higher_score_finds_fewer_faces(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    pale = picture([(2, 2)])
    pale[64:96, 64:96] = (200, 60, 60)  # scores 0.7
    path = write_picture(tmp_path / "a.png", pale)
    counts = [len(cli("predict", path, "--json", "--score", score, *models).json()["faces"]) for score in (0.3, 0.9)]
    assert counts == [1, 0]


def test_rows_go_to_standard_output(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    path = write_picture(tmp_path / "a.png")
    result = cli("predict", path, "--csv", "-", *models)
    assert result.code == 0
    rows = list(csv.DictReader(result.out.splitlines()))
    assert [row["source"] for row in rows] == [str(path)]
    assert not Path("-").exists()
    write_picture(path, picture([]))
    assert len(cli("predict", path, "--csv", "-", *models).out.splitlines()) == 1, "the head alone"
    assert "would both write to standard output" in cli("predict", path, "--csv", "-", "--json", *models).err


def test_a_video_names_the_verb_for_it(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    path = write_clip(tmp_path / "a b.mp4", 3)
    result = cli("predict", path, *models)
    assert result.code == 1
    assert f"`{path}` is a video, expected an image; use: edgeface run '{path}'" in result.err
