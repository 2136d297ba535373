"""``edgeface run`` with live options, as its user types them: privacy, heads, blur, metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_heads_that_are_off_are_null_everywhere(clip: Path, tmp_path: Path, cli: Cli, models: list[str]) -> None:
    result = cli("run", clip, "--sink", tmp_path / "a.jsonl", "--heads", "age", *models)
    assert result.code == 0
    faces = [face for line in lines_of(tmp_path / "a.jsonl") for face in line["faces"]]
    assert faces and all(face["age"] is not None for face in faces[-2:])
    assert {face[key] for face in faces for key in ("gender", "gender_confidence", "race", "race_confidence")} == {None}


def test_privacy_tells_counts_only(clip: Path, tmp_path: Path, cli: Cli, models: list[str]) -> None:
    result = cli("run", clip, "--sink", tmp_path / "a.jsonl", "--json", "--privacy", "--privacy-k", 2, *models)
    assert result.code == 0
    (told,) = lines_of(tmp_path / "a.jsonl")
    assert result.json_lines() == [told]
    assert (told["kind"], told["people"], told["k"], told["complete"]) == ("counts", 2, 2, False)
    assert "12 frames" in result.err and "faces" not in result.err and "people" not in result.err


def test_privacy_of_too_few_people_tells_nothing(clip: Path, cli: Cli, models: list[str]) -> None:
    (told,) = cli("run", clip, "--json", "--privacy", *models).json_lines()
    assert (told["people"], told["age"], told["gender"]) == (None, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sink", "{tmp}/a.mp4", "--privacy"), "takes images, of which none may leave with --privacy"),
        (("--sink", "{tmp}/a.csv", "--privacy"), "takes rows about single people"),
        (("--heads", "age,height"), "no head `height`, expected some of age, gender, race"),
        (("--heads", ""), "--heads names nothing to tell"),
        (("--metrics", "x:y"), "`x:y` is no address to serve at, expected HOST:PORT or :PORT"),
        (("--log", "xml"), "--log expects text or json, found `xml`"),
        (("--sink", "mqtt://host"), "`mqtt://host` is no topic to publish to, expected mqtt://HOST/TOPIC"),
    ],
)
def test_wrong_options_are_one_sentence(
    clip: Path, tmp_path: Path, cli: Cli, models: list[str], options: tuple[str, ...], message: str
) -> None:
    result = cli("run", clip, *(option.format(tmp=tmp_path) for option in options), *models)
    assert result.code == 1 and message in result.err
    assert [line for line in result.err.splitlines() if line.startswith("error: ")] == result.err.splitlines()[-1:]
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".mp4", ".csv")] in ([], [clip.name])


def test_metrics_and_a_page_are_served_meanwhile(clip: Path, cli: Cli, models: list[str]) -> None:
    result = cli("run", clip, "--sink", "http://127.0.0.1:0", "--metrics", "127.0.0.1:0", "--log", "json", *models)
    assert result.code == 0
    assert "metrics at http://127.0.0.1:" in result.err
    events = [json.loads(line) for line in result.err.splitlines() if line.startswith("{")]
    assert any(event["message"].startswith("serving http://127.0.0.1:") for event in events)


@pytest.mark.parametrize("more", [[], ["--privacy"]])
def test_sources_are_told_apart_by_the_names_they_are_given(cli: Cli, models: list[str], more: list[str]) -> None:
    sources = [f"synthetic:?frames=3&size=160x120&seed=1#name={name}" for name in ("door", "yard")]
    result = cli("run", *sources, "synthetic:?frames=3&size=160x120", "--json", *more, *models)
    assert result.code == 0
    assert {line["source"] for line in result.json_lines()} == {"door", "yard", "synthetic:?frames=3&size=160x120"}


def test_sources_of_one_name_are_numbered(cli: Cli, models: list[str]) -> None:
    uri = "synthetic:?frames=2&size=160x120&faces=1"
    result = cli("run", uri, uri, "--json", *models)
    named = sorted(line["source"] for line in result.json_lines())  # cameras run side by side
    assert named == [f"{uri}#1"] * 2 + [f"{uri}#2"] * 2
