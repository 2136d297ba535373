"""``edgeface predict --explain``: an image a face."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.imaging.image_io import read_image
from tests.cli.conftest import Cli
from tests.fixtures import picture, write_picture

pytest.importorskip("onnx", reason="the extra `quantize` is not installed")


def test_every_face_gets_a_picture(tmp_path: Path, cli: Cli, tiny_detector: Path) -> None:
    write_picture(tmp_path / "in" / "a.png", picture([(2, 2), (7, 5)]))
    write_picture(tmp_path / "in" / "none.png", picture([]))
    write_picture(tmp_path / "other" / "a.png")
    folders = (tmp_path / "in", tmp_path / "other")
    result = cli("predict", *folders, "--explain", tmp_path / "out", "--detector", tiny_detector)
    assert (result.code, result.err) == (0, "")
    names = ["a-2-face0.png", "a-face0.png", "a-face1.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert read_image(tmp_path / "out" / "a-face0.png").shape[1] == 4 * 254 + 14, "the crop and three maps"


def test_crops_are_explained_whole(tmp_path: Path, cli: Cli) -> None:
    write_picture(tmp_path / "chip.png", picture([(0, 0)], 64, 64))
    result = cli("predict", tmp_path / "chip.png", "--crops", "--explain", tmp_path / "out", "--json")
    assert result.code == 0 and len(result.json()["faces"]) == 1
    shown = read_image(tmp_path / "out" / "chip-face0.png")[26:266, 14:254]
    assert shown[:100, :100].mean(axis=(0, 1)) == pytest.approx([250, 10, 10], abs=6)


def test_a_network_that_cannot_be_explained_is_said_first(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    write_picture(tmp_path / "a.png")
    result = cli("predict", tmp_path / "a.png", "--explain", tmp_path / "out", *models)
    assert (result.code, result.out) == (1, "")
    assert "has no feature map that all its answers come from" in result.err
    assert not (tmp_path / "out").exists()


def test_maps_never_go_among_the_inputs(tmp_path: Path, cli: Cli) -> None:
    path = write_picture(tmp_path / "a.png")
    result = cli("predict", path, "--explain", tmp_path)
    assert result.code == 1 and "name another place" in result.err
