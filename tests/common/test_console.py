"""Data go to stdout or fail with a sentence; bars are for terminals, plain lines for logs."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import sys
import unicodedata
from pathlib import Path

import pytest
import typer

from edgeface.cli import main
from edgeface.cli.live_options import logging_events
from edgeface.cli.overwriting import refuse_overwriting_input
from edgeface.common import console as output
from edgeface.errors import ConfigError, SinkError
from tests.conftest import ROOT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_reader_that_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(typer.Exit) as ended:
            main._guarded(output.echo)("line")
        stdout.flush()  # what is left goes nowhere
        monkeypatch.undo()
    assert ended.value.exit_code == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115 - closing it fails again, as it must
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(SinkError, match="cannot write to standard output: No space left on device"):
        output.echo("line")
    monkeypatch.undo()
    os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    full.close()


def test_json_files_are_whole_or_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output.write_json(tmp_path / "a.json", {"ä": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ä": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        output.write_json(tmp_path / "b.json", {"x": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    output.write_json(Path("-"), [1])
    assert json.loads(capsys.readouterr().out) == [1]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with output.progress("frames") as report:
        for done in range(3):
            report(done, None)
        report(3, 3)
    assert "frames" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_lines_in_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("frames") as report:
        report(1, 10)
        monkeypatch.setattr(output, "_LOG_EVERY_S", 0.0)
        report(2, 10)
        report(3, None)
    assert capsys.readouterr().err == "frames: 2 of 10\nframes: 3\n"


def test_tables_have_no_colours_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("people", ("name", "age"), [("a [b] long/path.jpg", "30"), ("c", "4")])
    out = capsys.readouterr().out
    assert out.startswith("people\n")
    assert "a [b] long/path.jpg" in out, "brackets are no markup"
    assert "\x1b" not in out


def test_outputs_never_replace_inputs(tmp_path: Path) -> None:
    picture, video = tmp_path / "a.jpg", tmp_path / "a.mp4"
    for source, out in [(picture, tmp_path), (picture, picture), (tmp_path, tmp_path / "."), (video, video)]:
        with pytest.raises(ConfigError, match="would overwrite the input"):
            refuse_overwriting_input(source, out, folder=None)
    for source, out in [(video, tmp_path), (picture, tmp_path / "out"), (tmp_path, tmp_path / "out")]:
        refuse_overwriting_input(source, out, folder=None)


HOSTILE = "a\x1b]0;owned\x07\x9b2J\x7f\u202egnp.exe\u2066\ud800\nb"


def test_nothing_that_steers_a_terminal_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", stdout := Terminal())
    output.echo(HOSTILE)
    output.echo_json({HOSTILE: HOSTILE})
    output.table(HOSTILE, [HOSTILE, "n"], [[HOSTILE, "1"]])
    monkeypatch.undo()
    output.log_line(HOSTILE)
    output.report_error(SinkError(HOSTILE))
    with logging_events("text"):
        logging.getLogger("edgeface.live").warning("%s: %s", HOSTILE, HOSTILE)
    with pytest.raises(typer.Exit):
        main._guarded(lambda: (_ for _ in ()).throw(SinkError(HOSTILE)))()
    errors = capsys.readouterr().err
    own = re.sub(r"\x1b\[[0-9;]*m", "", stdout.getvalue())  # colours of our own tables
    for told in (own, errors):
        assert not [c for c in told if c != "\n" and (unicodedata.category(c) in ("Cc", "Cf", "Cs"))]
        assert "\\x1b]0;owned\\x07" in told
    assert errors.count("\n") == 4 and errors.startswith("a\\x1b]0;owned")
    line = stdout.getvalue().splitlines()[2]
    assert json.loads(line) == {HOSTILE: HOSTILE}


def test_everything_printed_goes_through_the_console() -> None:
    ways = re.compile(r"\bprint\(|typer\.echo|click\.echo|sys\.(stdout|stderr)\.write|logging\.Formatter\(")
    own_process = {"edgeface/common/console.py", "edgeface/bench/model_speed.py"}  # one number from process to process
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for tree in ("edgeface", "trainer")
        for path in sorted((ROOT / tree).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ways.match(f"{ast.unparse(node.func)}(")
        and str(path.relative_to(ROOT)) not in own_process
    ]
    assert found == []
