"""Names of any bytes, any console, closed and full outputs: every verb goes on, and names lead back to their files."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path
from urllib.parse import unquote_to_bytes

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.common.names import printable, shown_name
from edgeface.sources.source_uri import local_path
from tests.cli.conftest import ROOT, Cli, command, write_clip
from tests.fixtures import write_picture

LATIN = os.fsdecode(b"M\xfcnchen")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (LATIN, "ok", "z\u00fcrich"):  # OpenCV does not write under a name that is not UTF-8
        write_picture(tmp_path / "in" / "a.png").rename(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


@given(st.binary(min_size=1, max_size=40).filter(lambda name: not set(b"\0/") & set(name)))
def test_a_name_in_results_leads_back_to_its_bytes(name: bytes) -> None:
    shown = shown_name(os.fsdecode(name))
    shown.encode()
    try:
        name.decode()
        assert shown == name.decode()
    except UnicodeDecodeError:
        assert unquote_to_bytes(shown.removeprefix("file:").removeprefix("./")) == name
        assert local_path(shown) == Path(os.fsdecode(name))


def test_consoles_without_a_letter_get_its_bytes() -> None:
    assert printable(f"{LATIN} 31 ± 6…") == "M%FCnchen 31 ± 6…"
    assert printable(f"{LATIN} z\u00fc 31 ± 6…", "ascii") == "M%FCnchen z%C3%BC 31 +- 6..."
    assert printable("z\u00fc ± \u65e5", "cp1252") == "z\u00fc ± %E6%97%A5"


def test_every_sink_and_table_takes_a_name_that_is_not_utf8(
    tmp_path: Path, folder: Path, cli: Cli, models: list[str]
) -> None:
    expected = [f"file:{folder}/M%FCnchen.png", f"{folder}/ok.png", f"{folder}/z\u00fcrich.png"]
    assert sorted(line["path"] for line in cli("predict", folder, "--json", *models).json_lines()) == sorted(expected)
    for verb, option in (("predict", "--csv"), ("run", "--sink")):
        assert cli(verb, folder, option, tmp_path / "o.csv", *models).code == 0
        rows = list(csv.DictReader((tmp_path / "o.csv").read_text(encoding="utf-8").splitlines()))
        assert sorted({row["source"] for row in rows}) == sorted(expected)
    sinks = [word for name in ("o.jsonl", "o.mp4", "o/") for word in ("--sink", f"{tmp_path}/{name}")]
    assert cli("run", folder, *sinks, *models).code == 0
    lines = (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted(json.loads(line)["source"] for line in lines) == sorted(expected)
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["M%FCnchen.png", "ok.png", "z\u00fcrich.png"]
    again = cli("predict", f"file:{folder}/M%FCnchen.png", "--json", *models)
    assert again.json()["path"] == f"file:{folder}/M%FCnchen.png"
    (folder / f"{LATIN}.png").write_bytes(b"")
    result = cli("predict", folder, *models)
    assert result.code == 1
    assert "M%FCnchen.png` is empty" in result.err


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C"}]
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_consoles_of_few_letters(
    folder: Path, models: list[str], environment: dict[str, str], form: tuple[str, ...]
) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        command("predict", folder.name, *form, *models), capture_output=True, env=env, cwd=folder.parent, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"M%FCnchen" in done.stdout
    if form:
        paths = [json.loads(line)["path"] for line in done.stdout.splitlines()]
        assert f"{folder.name}/z\u00fcrich.png" in paths


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "mov"])
def test_titles_are_of_any_encoding(tmp_path: Path, cli: Cli, models: list[str], suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Munchen"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert path.read_bytes().count(b"Munchen") == 1
    path.write_bytes(path.read_bytes().replace(b"Munchen", b"M\xfcnchen"))
    assert len(cli("run", path, "--json", *models).json_lines()) == 3


@pytest.mark.parametrize(
    "name",
    ["2024-01-01T10:00:00.mp4", "cam1:front.mp4", "http:x.mp4", "a#1.mp4", "a?b=c.mp4", "a b.mp4", "a%20b.mp4"],
)
def test_signs_in_names_are_no_addresses(
    tmp_path: Path, cli: Cli, models: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path(name), 3)
    for given_as in (name, f"./{name}", f"file:{tmp_path}/{name}"):
        result = cli("run", given_as, "--json", *models)
        assert (result.code, len(result.json_lines())) == (0, 3), result.err


def test_a_file_uri_is_percent_decoded(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    write_clip(tmp_path / "a b#?.mp4", 3)
    result = cli("run", f"file://{tmp_path}/a%20b%23%3F.mp4", "--json", *models)
    assert (result.code, len(result.json_lines())) == (0, 3)


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "x/" * 3000 + "a.mp4"])
@pytest.mark.parametrize("verb", ["predict", "run"])
def test_paths_longer_than_the_system_allows(cli: Cli, models: list[str], verb: str, name: str) -> None:
    result = cli(verb, name, *models)
    assert result.code == 1
    assert result.err.startswith("error: no ")


def test_a_cover_is_no_video(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44100
        image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(image))
        container.mux(cover.encode())
        container.mux(sound.encode(samples))
        container.mux(sound.encode())
    result = cli("run", path, *models)
    assert result.code == 1
    assert f"`{path}` has no video stream" in result.err


@pytest.mark.parametrize("redirection", [">&-", "> /dev/full"])
@pytest.mark.parametrize("arguments", ["predict {a}", "predict {a} --json", "run {a}", "run {a} --json", "--version"])
def test_an_output_that_takes_nothing_is_one_sentence(
    tmp_path: Path, models: list[str], redirection: str, arguments: str
) -> None:
    if not Path("/dev/full").exists() or (arguments == "--version" and redirection == ">&-"):
        pytest.skip("this system has no /dev/full, or Click writes nothing where there is no output")
    words = arguments.format(a=write_picture(tmp_path / "a.png")).split()
    words += [] if words[0] == "--version" else models
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = f'"$@" {redirection}'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *command(*words)], stderr=subprocess.PIPE, text=True, env=env, cwd=ROOT, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write ")
    assert len(done.stderr.splitlines()) == 1


def test_without_a_place_for_errors_the_exit_code_still_says_it(tmp_path: Path, models: list[str]) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for path, code in ((write_picture(tmp_path / "a.png"), 0), (tmp_path / "none.png", 1)):
        line = ["sh", "-c", '"$@" 2>&-', "sh", *command("predict", path, "--json", *models)]
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT, timeout=120)
        assert done.returncode == code
