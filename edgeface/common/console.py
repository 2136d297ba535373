"""What commands print: data to stdout, everything else to stderr; colours and bars only on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgeface.common.names import PERCENT, printable
from edgeface.errors import SinkError

_LOG_WIDTH = 120
"""Columns of a table where there is no terminal to ask."""
_LOG_EVERY_S = 10.0


def echo(text: str = "") -> None:
    """One line of data on stdout, at once. Raises ``SinkError`` where it cannot be written (a full disk)."""
    if sys.stdout is None:  # closed before we were started (`>&-`)
        raise SinkError("cannot write to standard output: it is closed")
    try:
        sys.stdout.write(printable(text, _encoding(sys.stdout)) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SinkError(f"cannot write to standard output: {error.strerror or error}") from error


def echo_json(value: Any) -> None:
    """One JSON value as one line on stdout."""
    echo(json.dumps(value, ensure_ascii=not holds_unicode(sys.stdout), allow_nan=False))


def log_line(text: str) -> None:
    """One line for people on stderr, where there is one."""
    if sys.stderr is None:
        return
    with suppress(OSError):  # no one can be told; the exit code still says it
        sys.stderr.write(printable(text, _encoding(sys.stderr)) + "\n")
        sys.stderr.flush()


def holds_unicode(stream: Any) -> bool:
    """Whether a stream takes every letter."""
    return _encoding(stream).lower().replace("_", "-").startswith("utf")


def _encoding(stream: Any) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def report_error(text: object) -> None:
    """Name a failure that does not stop the command."""
    log_line(f"error: {text}")


def write_json(path: Path, value: Any) -> None:
    """An indented JSON file, whole or not at all; ``-`` is stdout. Raises ``SinkError``."""
    from edgeface.common.files import atomic_path

    if str(path) == "-":
        echo(json.dumps(value, ensure_ascii=not holds_unicode(sys.stdout), allow_nan=False, indent=2))
        return
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", errors=PERCENT)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; every column but the first is flush right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if sys.stdout is None:
        raise SinkError("cannot write to standard output: it is closed")
    width = None if sys.stdout.isatty() else _LOG_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        out.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        out.add_row(*(printable(cell, _encoding(sys.stdout)) for cell in row))
    with console.capture() as capture:
        console.print(out)
    echo("\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n"))


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield ``report(done, total)``, total ``None`` if unknown: a bar on a terminal, a line now and then in a log."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield _Log(label)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Log:
    """A plain line when ten seconds have passed since the last."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._last = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() - self._last < _LOG_EVERY_S:
            return
        self._last = time.monotonic()
        log_line(f"{self._label}: {done}" + (f" of {total}" if total else ""))
