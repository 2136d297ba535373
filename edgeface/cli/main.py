"""The command ``edgeface``: one file per verb, and the one place where errors become sentences and exit codes.

Exit codes: 0 all went well, 1 an error (one line on stderr), 2 wrong usage, 130 Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from edgeface import __version__
from edgeface.cli import (
    bench,
    build_engine,
    calibration,
    demo,
    doctor,
    evaluate,
    export,
    info,
    parity,
    predict,
    quantize,
    run,
)
from edgeface.common.console import echo, log_line, report_error
from edgeface.errors import EdgefaceError, SinkError

_BROKEN_PIPE = 141  # 128 + SIGPIPE, as shells report it
_INTERRUPTED = 130  # 128 + SIGINT

app = typer.Typer(
    name="edgeface",
    help="Age, gender and race of every face in an image or a video.",
    epilog="Start with: edgeface demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        echo(f"edgeface {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Age, gender and race of every face in an image or a video."""


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with its errors turned into one line and an exit code; a bug keeps its traceback."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            _drop_stdout()
            raise typer.Exit(_BROKEN_PIPE) from None
        except EdgefaceError as error:
            report_error(error)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            log_line("stopped")
            raise typer.Exit(_INTERRUPTED) from None

    return guarded


def _drop_stdout() -> None:
    """Anyone who read our output is gone: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


for _verb in (demo, predict, run, evaluate, parity, bench, export, quantize, build_engine, info, doctor):
    _name = _verb.__name__.rpartition(".")[2]
    app.command(_name.replace("_", "-"), epilog=_verb.EXAMPLE)(_guarded(getattr(_verb, _name)))

_calibration = typer.Typer(
    help=calibration.HELP, epilog=calibration.COMMANDS[0][1], no_args_is_help=True, rich_markup_mode=None
)
for _command, _example in calibration.COMMANDS:
    _calibration.command(_command.__name__, epilog=_example)(_guarded(_command))
app.add_typer(_calibration, name="calibration")


class _Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    Not KeyboardInterrupt itself: one that passes through an ``exec`` of text, as a dataclass's definition is, makes
    CPython 3.11 under ``python -m`` die by SIGINT in the end, though it was caught (``unhandled_keyboard_interrupt``).
    """


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stopped


def main() -> None:
    """Entry point of the console script."""
    # Services and schedulers stop a process by SIGTERM, which would otherwise skip all clearing up.
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, _stop)
    _hold_standard_streams()
    try:
        app(prog_name="edgeface")
    except SinkError as error:  # the version, which no verb guards
        report_error(error)
        _drop_stdout()
        sys.exit(1)
    except OSError as error:  # the text of --help, which Click writes
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EBADF, errno.EIO):
            raise
        report_error(f"cannot write to standard output: {error.strerror}")
        _drop_stdout()
        sys.exit(1)


def _hold_standard_streams() -> None:
    """Put /dev/null where a standard stream was closed (`>&-`), or the next file opened would take its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
