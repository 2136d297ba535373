"""The top level: help with examples, version, exit codes, bugs that keep their traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from edgeface import __version__
from edgeface.cli import main
from edgeface.errors import SinkError
from tests.cli.conftest import ROOT, Cli, run_command
from tests.cli.test_startup import VERBS


def test_version(cli: Cli) -> None:
    result = cli("--version")
    assert (result.code, result.out) == (0, f"edgeface {__version__}\n")


def test_help_names_every_verb(cli: Cli) -> None:
    result = cli("--help")
    assert result.code == 0
    assert [verb for verb in VERBS if f"\n  {verb} " in result.out] == list(VERBS)
    assert "..." not in result.out.split("Commands:")[1], "a verb's sentence is cut off"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example(cli: Cli, verb: str) -> None:
    result = cli(verb, "-h")
    assert result.code == 0
    assert f"Example: edgeface {verb}" in result.out


@pytest.mark.parametrize(
    ("raised", "code", "printed"),
    [
        (SinkError("cannot write `x`: disk full"), 1, "error: cannot write `x`: disk full\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_errors_become_exit_codes(
    capsys: pytest.CaptureFixture[str], raised: BaseException, code: int, printed: str
) -> None:
    def command() -> None:
        raise raised

    with pytest.raises(typer.Exit) as ended:
        main._guarded(command)()
    assert ended.value.exit_code == code
    assert capsys.readouterr().err == printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_inside_a_definition_is_a_stop(tmp_path: Path, number: signal.Signals) -> None:
    """The signal comes while text is executed, as a dataclass's definition is, and the program runs by ``-m``."""
    (tmp_path / "stopped_early.py").write_text(
        f"""
import signal
from edgeface.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # as a terminal starts it
main.app = main._guarded(lambda **_: exec("import os, signal; os.kill(os.getpid(), {int(number)})"))
try:
    main.main()
except main.typer.Exit as end:
    raise SystemExit(end.exit_code)
"""
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    done = subprocess.run([sys.executable, "-m", "stopped_early"], capture_output=True, text=True, env=env, timeout=120)
    assert (done.returncode, done.stderr) == (130, "stopped\n")


def test_a_bug_keeps_its_traceback() -> None:
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main._guarded(command)()


def test_the_module_is_the_command() -> None:
    result = run_command("--version")
    assert (result.code, result.out) == (0, f"edgeface {__version__}\n")
