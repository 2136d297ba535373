"""``edgeface run``: every frame answered in order, sinks, throughput, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Cli, command, run_command, write_clip
from tests.fixtures import picture, write_picture


def test_json_is_one_line_a_frame(clip: Path, cli: Cli, models: list[str]) -> None:
    result = cli("run", clip, "--json", *models)
    lines = result.json_lines()
    assert result.code == 0
    assert [line["frame"] for line in lines] == list(range(12))
    assert [line["pts_s"] for line in lines] == pytest.approx([n / 25 for n in range(12)], abs=1e-3)
    assert {line["source"] for line in lines} == {str(clip)}
    assert {(line["width"], line["height"]) for line in lines} == {(320, 256)}
    assert [sorted(face["track"] for face in line["faces"]) for line in lines] == [[1, 2]] * 12
    first, last = ({face["track"]: face["box"] for face in lines[row]["faces"]} for row in (0, -1))
    for track, box in first.items():
        assert last[track] == pytest.approx(box, abs=4), "the same face keeps its number"
    assert "12 frames, 24 faces, 2 people in " in result.err


def test_throughput_goes_to_stdout_where_no_data_do(clip: Path, cli: Cli, models: list[str]) -> None:
    result = cli("run", clip, *models)
    assert "frames/s (mean ms a frame: decode " in result.out
    assert result.err == ""


def test_sinks_by_name(clip: Path, tmp_path: Path, cli: Cli, models: list[str]) -> None:
    out = tmp_path / "out"
    sinks = ["a.mp4", "b.jsonl", "c.csv", "pictures/"]
    result = cli("run", clip, *(part for sink in sinks for part in ("--sink", f"{out}/{sink}")), *models)
    assert result.code == 0
    assert all(f"wrote {out}/{sink}" in result.out for sink in sinks)
    lines = [json.loads(line) for line in (out / "b.jsonl").read_text().splitlines()]
    assert [len(line["faces"]) for line in lines] == [2] * 12
    assert len((out / "c.csv").read_text().splitlines()) == 1 + 24
    assert len(list((out / "pictures").iterdir())) == 12
    assert len(cli("run", out / "a.mp4", "--json", *models).json_lines()) == 12


def test_max_frames(clip: Path, cli: Cli, models: list[str]) -> None:
    assert len(cli("run", clip, "--max-frames", 5, "--json", "--sink", "-", *models).json_lines()) == 5


def test_a_folder_of_pictures_with_a_bad_one(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    write_picture(tmp_path / "a.png", picture([(2, 2)]))
    (tmp_path / "b.png").write_text("no picture")
    write_picture(tmp_path / "c.png", picture([(2, 2)]))
    result = cli("run", tmp_path, "--json", *models)
    assert result.code == 1
    assert [Path(line["source"]).name for line in result.json_lines()] == ["a.png", "c.png"]
    assert f"error: `{tmp_path / 'b.png'}` cannot be decoded" in result.err


def test_ctrl_c_leaves_a_playable_file(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    clip, out = write_clip(tmp_path / "long.mp4", 600), tmp_path / "out.mp4"
    arguments = command("run", clip, "--json", "--sink", out, "--sink", tmp_path / "out.jsonl", *models)
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env
    ) as child:
        assert child.stdout is not None
        for _ in range(5):
            assert child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in err
    kept = cli("run", out, "--json", *models).json_lines()
    assert 5 <= len(kept) < 600
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == len(kept)
    assert {path.name for path in tmp_path.iterdir()} == {"long.mp4", "out.mp4", "out.jsonl"}


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, models: list[str]) -> None:
    clip = write_clip(tmp_path / "long.mp4", 600)
    with subprocess.Popen(
        command("run", clip, "--json", *models), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline()
        child.stdout.close()
        err = child.stderr.read()
        child.wait(timeout=60)
    assert child.returncode == 141
    assert err == ""


def test_in_a_process_of_its_own(clip: Path, models: list[str]) -> None:
    result = run_command("run", clip, "--max-frames", 2, "--json", *models)
    assert (result.code, len(result.json_lines())) == (0, 2)
