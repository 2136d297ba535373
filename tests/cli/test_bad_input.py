"""Bad input gets one clear sentence on stderr, exit code 1, no traceback, and nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.conftest import Cli, Result, run_command, write_clip
from tests.fixtures import picture, tiny_spec, write_picture, write_tiny_detector, write_tiny_model


def error_of(result: Result) -> str:
    """The one error line of a command that failed; nothing else may be on stderr but notes."""
    assert result.code == 1
    assert "Traceback" not in result.err
    (line,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def test_missing_file(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    error = error_of(cli("predict", tmp_path / "none.jpg", *models))
    assert error == f"no image at `{tmp_path / 'none.jpg'}`: no such file or directory"
    error = error_of(cli("run", tmp_path / "none.mp4", *models))
    assert error == f"no source at `{tmp_path / 'none.mp4'}`: no such file or directory"


def test_empty_directory(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    for verb in ("predict", "run"):
        error = error_of(cli(verb, tmp_path, *models))
        assert error.startswith(f"no images in directory `{tmp_path}`: expected files ending in .avif, .bmp")


def test_text_named_jpg(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    error = error_of(cli("predict", tmp_path / "a.jpg", *models))
    assert error == f"`{tmp_path / 'a.jpg'}` cannot be decoded as an image: it holds text"


def test_truncated_jpeg(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    path = write_picture(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-400])
    error = error_of(cli("predict", path, *models))
    assert error == f"`{path}` is cut off: its JPEG data has no end, copy or download it again"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20_000, 20), (20, 20_000)])
def test_extreme_sizes_are_answered(tmp_path: Path, cli: Cli, models: list[str], width: int, height: int) -> None:
    path = write_picture(tmp_path / "a.png", np.zeros((height, width, 3), np.uint8))
    result = cli("predict", path, "--json", *models)
    assert result.code == 0
    assert result.json() == {"path": str(path), "width": width, "height": height, "faces": []}
    assert cli("predict", path, "--json", "--crops", *models).json()["faces"][0]["age"] == 0


def test_unusual_encodings_are_answered_alike(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    bgr = np.ascontiguousarray(picture()[..., ::-1])
    alpha = np.full((*bgr.shape[:2], 1), 128, np.uint8)
    cv2.imwrite(str(tmp_path / "plain.png"), bgr)
    cv2.imwrite(str(tmp_path / "deep.png"), bgr.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.concatenate([bgr, alpha], axis=2))
    result = cli("predict", tmp_path, "--json", *models)
    assert result.code == 0
    assert [line["faces"] for line in result.json_lines()] == [result.json_lines()[0]["faces"]] * 3
    assert len(result.json_lines()[0]["faces"]) == 1


def test_grey_pictures_are_answered(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 64), 85, np.uint8))
    answer = cli("predict", tmp_path / "grey.png", "--json", "--crops", *models)
    assert answer.json()["faces"][0]["age"] == pytest.approx(30, abs=0.1)


def test_rotated_by_exif(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    """Orientation 6: the camera was turned, so the stored rows are the columns that people see."""
    path = write_picture(tmp_path / "a.jpg", np.rot90(picture([(2, 2)], 320, 256)))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    data = path.read_bytes()
    path.write_bytes(data[:2] + segment + data[2:])
    answer = cli("predict", path, "--json", *models).json()
    assert (answer["width"], answer["height"]) == (320, 256)
    assert answer["faces"][0]["box"] == [16, 16, 144, 144]


def test_a_video_that_breaks_off_is_answered_as_far_as_it_goes(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    whole = write_clip(tmp_path / "whole.mp4", 60)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: int(0.6 * whole.stat().st_size)])
    result = cli("run", cut, "--json", "--sink", tmp_path / "out.mp4", *models)
    assert 0 < len(result.json_lines()) < 60
    assert "broke off after" in error_of(result)
    assert "what was decoded is kept" in error_of(result)
    assert len(cli("run", tmp_path / "out.mp4", "--json", *models).json_lines()) == len(result.json_lines())


def test_a_file_that_is_no_video(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    assert f"cannot open `{tmp_path / 'a.mp4'}` as a video" in error_of(cli("run", tmp_path / "a.mp4", *models))


def newer_spec() -> str:
    return json.dumps({**json.loads(tiny_spec().to_json()), "schema_version": 2})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "has no `edgeface.spec` in its metadata, so nothing says how to feed it; make it with: edgeface export"),
        (
            newer_spec(),
            "its ModelSpec has schema 2, this edgeface reads up to 1; upgrade with: pip install --upgrade edgeface",
        ),
        ("{", "its ModelSpec is not a JSON object with a schema_version; export the model again"),
        ('{"schema_version": 1}', "its ModelSpec is incomplete or malformed ('alignment'); export the model again"),
    ],
    ids=["absent", "newer", "corrupt", "incomplete"],
)
def test_models_without_a_usable_spec(tmp_path: Path, cli: Cli, tiny_detector: Path, spec: str, message: str) -> None:
    model = write_tiny_model(tmp_path / "model.onnx", spec)
    path = write_picture(tmp_path / "a.png")
    assert message in error_of(cli("predict", path, "--model", model, "--detector", tiny_detector))
    error = error_of(cli("evaluate", model, "--data", tmp_path, "--crops"))
    assert error.startswith(f"`{model}`")
    assert message in error


def test_models_that_are_none(tmp_path: Path, cli: Cli, tiny_model: Path, tiny_detector: Path) -> None:
    path = write_picture(tmp_path / "a.png")
    text, cut, empty = tmp_path / "text.onnx", tmp_path / "cut.onnx", tmp_path / "empty.onnx"
    text.write_text("hello, no model here")
    cut.write_bytes(tiny_model.read_bytes()[:700])
    empty.touch()
    for model, message in [
        (text, f"`{text}` is not an ONNX model or is damaged; copy or export it again"),
        (cut, f"`{cut}` is not an ONNX model or is damaged; copy or export it again"),
        (empty, f"`{empty}` is empty, expected an ONNX model"),
        (tmp_path / "none.onnx", f"cannot read model `{tmp_path / 'none.onnx'}`: No such file or directory"),
        (tiny_detector, "it is a face detector, not an attribute network"),
    ]:
        assert message in error_of(cli("predict", path, "--model", model, "--detector", tiny_detector))
        if model != tiny_detector:
            assert message in error_of(cli("predict", path, "--model", tiny_model, "--detector", model))
            assert message in error_of(cli("info", model))


def test_an_attribute_network_is_no_detector(tmp_path: Path, cli: Cli, tiny_model: Path) -> None:
    path = write_picture(tmp_path / "a.png")
    error = error_of(cli("predict", path, "--model", tiny_model, "--detector", tiny_model))
    assert "is no face detector that edgeface knows" in error


def test_a_detector_of_a_newer_schema(tmp_path: Path, cli: Cli, tiny_model: Path) -> None:
    detector = write_tiny_detector(tmp_path / "detector.onnx")
    data = detector.read_bytes()
    assert data.count(b'"schema_version": 1') == 1
    detector.write_bytes(data.replace(b'"schema_version": 1', b'"schema_version": 7'))
    error = error_of(cli("predict", write_picture(tmp_path / "a.png"), "--model", tiny_model, "--detector", detector))
    assert "its DetectorSpec has schema 7, this edgeface reads up to 1" in error


@pytest.mark.parametrize("place", ["file", "readonly"])
def test_output_folder_that_is_not_writable(tmp_path: Path, cli: Cli, models: list[str], place: str) -> None:
    path = write_picture(tmp_path / "a.png")
    folder = tmp_path / place
    if place == "file":
        folder.write_text("a file where a folder should be")
    else:
        folder.mkdir(mode=0o500)
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
    outputs = [
        ("predict", path, "--csv", folder / "sub" / "x.csv"),
        ("predict", path, "--annotate", folder / "sub"),
        ("run", path, "--sink", folder / "sub" / "x.jsonl"),
        ("run", path, "--sink", folder / "sub" / "x.mp4"),
        ("demo", "--out", folder / "sub"),
    ]
    for arguments in outputs:
        assert "cannot write `" in error_of(cli(*arguments, *models))


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if not done or done.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk_leaves_nothing_behind(tmp_path: Path, full_disk: Path, cli: Cli, models: list[str]) -> None:
    noise = np.random.default_rng(0)
    for number in range(8):
        write_picture(tmp_path / "in" / f"{number}.png", noise.integers(0, 255, (200, 200, 3), np.uint8))
    for arguments in [
        ("predict", tmp_path / "in", "--annotate", full_disk / "a"),
        ("run", tmp_path / "in", "--sink", full_disk / "x.mp4"),
    ]:
        assert "no space left on device" in error_of(cli(*arguments, *models)).lower()
        assert [path for path in full_disk.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_behind_stdout(tmp_path: Path, models: list[str]) -> None:
    path = write_picture(tmp_path / "a.png")
    for verb in ("predict", "run"):
        with open("/dev/full", "w") as full:
            result = _with_stdout(full.fileno(), verb, path, "--json", *models)
        assert "No space left on device" in error_of(result)
        assert len(result.err.splitlines()) == 1


def _with_stdout(handle: int, *arguments: object) -> Result:
    from tests.cli.conftest import ROOT, command

    done = subprocess.run(command(*arguments), stdout=handle, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=120)
    return Result(done.returncode, "", done.stderr)


def test_no_traceback_in_a_process_of_its_own(tmp_path: Path) -> None:
    result = run_command("info", tmp_path / "none.onnx")
    assert (result.code, result.out) == (1, "")
    assert result.err == f"error: cannot read model `{tmp_path / 'none.onnx'}`: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "{model}", "--data", "{tmp}/none"), "no data at `{tmp}/none`: expected a folder or a zip"),
        (("evaluate", "{model}", "--data", "{tmp}"), "found 1 such as `a.png (1 fields"),
        (("evaluate", "{model}", "--data", "{tmp}", "--labels", "{tmp}/no.csv"), "cannot read labels `{tmp}/no.csv`"),
        (("evaluate", "{model}", "--data", "{tmp}", "--folds", "12"), "folds `12`: expected 0 to 9"),
        (("evaluate", "{tmp}/none.onnx", "--data", "{tmp}"), "cannot read model `{tmp}/none.onnx`"),
        (("run", "{tmp}/a.png", "--sink", "x.avi"), "no sink for `x.avi`: expected a name ending in .jsonl"),
        (("run", "{tmp}/a.png", "--sink", "{tmp}/a.png"), "would overwrite the input"),
    ],
)
def test_other_mistakes(
    tmp_path: Path, cli: Cli, tiny_model: Path, models: list[str], arguments: tuple[str, ...], message: str
) -> None:
    write_picture(tmp_path / "a.png")
    names = {"tmp": tmp_path, "model": tiny_model}
    options = models if arguments[0] == "run" else ["--crops"]
    error = error_of(cli(*(argument.format(**names) for argument in arguments), *options))
    assert message.format(**names) in error


def test_usage_mistakes_exit_2(cli: Cli) -> None:
    for arguments in [("predict",), ("fly",), ("run", "x", "--max-frames", "0"), ("info", "x", "--what")]:
        result = cli(*arguments)
        assert result.code == 2
        assert "Usage: edgeface" in result.err
        assert "Traceback" not in result.err
