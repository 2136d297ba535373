"""No command line replaces a file that it reads, whatever it is called by."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, write_clip
from tests.fixtures import write_picture


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one of everything that is read, as the current one."""
    home = tmp_path / "home"
    for name in ("a.png", "b.png", "photos/a.png", "photos/sub/a.png"):
        write_picture(home / name)
    (home / "v").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(home / "v" / name, 3)
    shutil.copy(tiny_model, home / "m.onnx")
    (home / "old.json").write_text("{}")
    with zipfile.ZipFile(home / "data.zip", "w") as archive:
        archive.write(home / "a.png", "30_0_1_20170101.png")
    (home / "link.png").symlink_to(home / "a.png")
    os.link(home / "v" / "a.mp4", home / "hard.mp4")
    (home / "linked").symlink_to(home / "photos", target_is_directory=True)
    monkeypatch.chdir(home)
    return home


def digests(home: Path) -> dict[str, str]:
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "line",
    [
        "predict --csv a.png b.png",
        "predict a.png --csv a.png",
        "predict a.png --csv data.zip",
        "predict a.png --csv m.onnx",
        "predict a.png --csv v/a.mp4",
        "predict a.png --annotate .",
        "predict link.png --annotate {home}",
        "predict photos --annotate photos/",
        "predict photos --annotate linked",
        "predict linked --annotate photos",
        "predict linked --explain photos/../photos",
        "predict photos/sub --annotate photos",
        "run photos/sub --sink photos/",
        "run v/*.mp4 --sink v/b.mp4",
        "run v/**/*.mp4 --sink ./v/../v/b.mp4",
        "run file://{home}/v/a.mp4 --sink {home}/v/a.mp4",
        "run file:v/a.mp4 --sink v/a.mp4",
        "run v/a.mp4 --sink file://{home}/v/a.mp4",
        "run v/a.mp4 --sink hard.mp4",
        "run a.png --sink ./",
        "run 'v/[ab].mp4' --sink v/b.mp4",
        "evaluate m.onnx --data data.zip --crops --json data.zip",
        "evaluate m.onnx --data data.zip --crops --json m.onnx",
        "bench m.onnx --save m.onnx",
        "bench m.onnx --compare old.json --save old.json",
        "parity m.onnx m.onnx --data data.zip --crops --save data.zip",
        "quantize m.onnx --precision fp16 -o ./m.onnx",
        "quantize m.onnx --precision fp16 -o data.zip",
        "export m.onnx -o m.onnx",
        "build-engine m.onnx --data data.zip --precision fp32 --target cpu -o m.onnx",
        "build-engine m.onnx --data data.zip --precision fp32 --target cpu -o a.png",
        "calibration make --data data.zip -o data.zip",
        "calibration make --data data.zip -o set.toml --plot a.zip",
    ],
)
def test_nothing_that_is_read_is_replaced(place: Path, cli: Cli, models: list[str], line: str) -> None:
    before = digests(place)
    words = line.replace("'", "").format(home=place).split()
    result = cli(*words, *(models if words[0] in ("predict", "run") else ()))
    assert result.code == 1, result
    assert result.err.startswith("error: writing `") or result.err.startswith("error: cannot write `"), result.err
    assert len(result.err.splitlines()) == 1
    assert digests(place) == before


def test_other_places_are_written(place: Path, cli: Cli, models: list[str]) -> None:
    before = digests(place)
    for line, written in [
        ("predict a.png --csv out.csv", "out.csv"),
        ("predict photos --annotate out", "out/a.png"),
        ("predict photos --annotate out", "out/a.png"),  # again, over its own results
        ("predict photos --annotate photos/drawn", "photos/drawn/a.png"),
        ("run v/*.mp4 --sink v/c.mp4", "v/c.mp4"),
        ("run v/a.mp4 --sink file:c%20d.jsonl", "c d.jsonl"),
        ("run v/a.mp4 --sink v/", "v/a_000000.jpg"),
    ]:
        assert cli(*line.split(), *models).code == 0, line
        assert (place / written).is_file(), line
    assert {name: digest for name, digest in digests(place).items() if name in before} == before


def test_a_device_is_written_to_and_stays_one(place: Path, cli: Cli, models: list[str]) -> None:
    os.mkfifo(place / "pipe.csv")
    reader = os.open(place / "pipe.csv", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert cli("predict", "a.png", "--csv", "pipe.csv", *models).code == 0
        assert os.read(reader, 1 << 16).startswith(b"source,frame,")
    finally:
        os.close(reader)
    assert (place / "pipe.csv").is_fifo()


def test_a_name_as_long_as_the_system_allows_can_be_written(place: Path, cli: Cli, models: list[str]) -> None:
    name = "x" * 251 + ".csv"
    assert cli("predict", "a.png", "--csv", name, *models).code == 0
    assert (place / name).is_file()


def test_two_sinks_on_one_file_are_refused(place: Path, cli: Cli, models: list[str]) -> None:
    result = cli("run", "v/a.mp4", "--sink", "out.jsonl", "--sink", "./photos/../out.jsonl", *models)
    assert result.code == 1 and "are one file" in result.err and not (place / "out.jsonl").exists()


def test_two_cameras_do_not_share_a_video(place: Path, cli: Cli, models: list[str]) -> None:
    cameras = ["synthetic:?frames=2&size=160x120&faces=1&live=1", "synthetic:?frames=2&size=160x120&faces=2&live=1"]
    result = cli("run", *cameras, "--sink", "out.mp4", *models)
    assert result.code == 1 and "cannot hold 2 cameras" in result.err and not (place / "out.mp4").exists()
