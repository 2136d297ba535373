"""``edgeface run``: every frame answered in order, sinks, throughput, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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
    (tmp_path / "b.png").write_text("no image")
    write_picture(tmp_path / "c.png", picture([(2, 2)]))
    result = cli("run", tmp_path, "--json", *models)
    assert result.code == 1
    assert [Path(line["source"]).name for line in result.json_lines()] == ["a.png", "c.png"]
    assert f"error: `{tmp_path / 'b.png'}` cannot be decoded" in result.err


def hears_ctrl_c() -> None:
    """In the child: what runs in the background of a script is started deaf to SIGINT, and hands that on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def under_way(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own that has answered five frames."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env, preexec_fn=hears_ctrl_c
    ) as child:
        assert child.stdout is not None
        for _ in range(5):
            assert child.stdout.readline()
        yield child


def test_ctrl_c_leaves_a_playable_file(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    clip, out = write_clip(tmp_path / "long.mp4", 600), tmp_path / "out.mp4"
    arguments = command("run", clip, "--json", "--sink", out, "--sink", tmp_path / "out.jsonl", *models)
    with under_way(arguments) as child:
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


def test_answers_of_a_person_are_fused_unless_every_frame_is_answered_by_itself(
    clip: Path, cli: Cli, models: list[str]
) -> None:
    def ages(*options: str) -> list[float]:
        lines = cli("run", clip, "--json", *options, *models).json_lines()
        return [face["age"] for line in lines for face in line["faces"] if face["track"] == 1]

    alone, fused = ages("--per-frame"), ages()
    assert len(alone) == len(fused) == 12
    assert len(set(alone)) > 1 and max(fused) - min(fused) < max(alone) - min(alone)


def test_several_sources_and_globs(tmp_path: Path, cli: Cli, models: list[str]) -> None:
    for name in ("b.mp4", "a.mp4"):
        write_clip(tmp_path / name, 4)
    result = cli("run", f"{tmp_path}/*.mp4", "synthetic:?frames=3&faces=0", "--json", *models)
    assert result.code == 0
    sources = [line["source"] for line in result.json_lines()]
    assert sorted(set(sources)) == [f"{tmp_path}/a.mp4", f"{tmp_path}/b.mp4", "synthetic:?frames=3&faces=0"]
    assert len(sources) == 11
    numbers = [line["frame"] for line in result.json_lines() if line["source"].endswith("b.mp4")]
    assert numbers == [0, 1, 2, 3]


def test_a_camera_that_is_gone_is_an_error_at_the_end_and_the_others_are_answered(
    clip: Path, cli: Cli, models: list[str]
) -> None:
    dead = "http://me:secret@127.0.0.1:9/video"
    result = cli("run", clip, dead, "--give-up", 0.3, "--json", "--stats", 0.1, *models)
    assert result.code == 1 and len(result.json_lines()) == 12
    assert (
        "error: `http://127.0.0.1:9/video` failed without a single frame, given up after 0.3 s: connection"
        in result.err
    )
    assert "stats: " in result.err and "http://127.0.0.1:9/video connecting: 0 frames, 0 dropped" in result.err
    assert "secret" not in result.err


def test_a_live_run_reports_ages_and_drops(cli: Cli, models: list[str]) -> None:
    result = cli("run", "synthetic:?frames=20&live=1&fps=50&faces=0", *models)
    assert result.code == 0
    assert " frames dropped, 0 reconnects, age in ms: p50 " in result.out


def test_privacy_tells_no_people(clip: Path, tmp_path: Path, cli: Cli, models: list[str]) -> None:
    result = cli("run", clip, "--privacy", "--stats", 0.1, *models)
    assert result.code == 0 and result.out.startswith("12 frames in ")
    assert "faces" not in result.out + result.err and "people" not in result.out + result.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_live_run_with_whole_files(tmp_path: Path, models: list[str], number: signal.Signals) -> None:
    out = tmp_path / "out.jsonl"
    arguments = command("run", "synthetic:?size=64x64", "--json", "--sink", out, *models)
    with under_way(arguments) as child:
        assert not out.exists()
        child.send_signal(number)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130 and "Traceback" not in err
    assert " frames dropped, 0 reconnects" in err
    numbers = [json.loads(line)["frame"] for line in out.read_text().splitlines()]
    assert len(numbers) >= 5 and numbers == sorted(set(numbers))
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_an_input_among_several_is_not_written_over(clip: Path, tmp_path: Path, cli: Cli, models: list[str]) -> None:
    result = cli("run", "synthetic:?frames=1", clip, "--sink", clip, *models)
    assert result.code == 1 and "would overwrite the input" in result.err
