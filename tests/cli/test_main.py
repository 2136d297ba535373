"""The top level: help with examples, version, exit codes, bugs that keep their traceback."""

from __future__ import annotations

import pytest
import typer

from edgeface import __version__
from edgeface.cli import main
from edgeface.errors import SinkError
from tests.cli.conftest import Cli, run_command
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


def test_a_bug_keeps_its_traceback() -> None:
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main._guarded(command)()


def test_the_module_is_the_command() -> None:
    result = run_command("--version")
    assert (result.code, result.out) == (0, f"edgeface {__version__}\n")
