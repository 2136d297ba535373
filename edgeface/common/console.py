"""What commands print: data to stdout, everything else to stderr; colours and bars only on a terminal.

Names of files, models and sources come from others, and a terminal obeys what it is sent: ``plain`` escapes it in all
that is printed. ``tests/common/test_console.py`` finds whatever prints without.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgeface.common.addresses import is_address, public_name
from edgeface.common.json_text import finite_json
from edgeface.common.names import PERCENT, printable
from edgeface.errors import SinkError

_LOG_WIDTH = 120
"""Columns of a table where there is no terminal to ask."""
_LOG_EVERY_S = 10.0


_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1: cursor, colours, title, clipboard
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"  # line ends and directions: text that reads as another
    "\ud800-\udfff]"  # surrogates, which no terminal's encoding has
)
_LINE_ENDS = re.compile("[\t\n]")


def plain(text: object, one_line: bool = False) -> str:
    """``text`` as a terminal may get it: what would steer it or turn its direction as ``\\x1b`` or ``\\u202e``; line
    feeds and tabs as well in ``one_line``. Bytes of names that are not UTF-8 are percent-encoded."""
    safe = _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], printable(str(text)))
    return _LINE_ENDS.sub(lambda found: ascii(found[0])[1:-1], safe) if one_line else safe


def json_text(value: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    """One line of JSON for files and terminals: the escapes of ``plain`` mean the same, NaN becomes null."""
    try:
        return _json(value, indent, ascii_only)
    except ValueError:
        return _json(finite_json(value), indent, ascii_only)


def _json(value: Any, indent: int | None, ascii_only: bool) -> str:
    text = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, indent=indent)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class PlainFormatter(logging.Formatter):
    """Log records as one line of plain text each."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record), one_line=True)


def echo(text: object = "") -> None:
    """Data on stdout, at once. Raises ``SinkError`` where they cannot be written (a full disk)."""
    _write(plain(text) + "\n")


def _write(text: str) -> None:
    if sys.stdout is None:  # closed before we were started (`>&-`)
        raise SinkError("cannot write to standard output: it is closed")
    try:
        sys.stdout.write(printable(text, _encoding(sys.stdout)))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SinkError(f"cannot write to standard output: {error.strerror or error}") from error


def echo_json(value: Any) -> None:
    """One JSON value as one line on stdout."""
    _write(json_text(value, ascii_only=not holds_unicode(sys.stdout)) + "\n")


def log_line(text: str) -> None:
    """One line for people on stderr, where there is one."""
    if sys.stderr is None:
        return
    with suppress(OSError):  # no one can be told; the exit code still says it
        sys.stderr.write(printable(plain(text, one_line=True), _encoding(sys.stderr)) + "\n")
        sys.stderr.flush()


def holds_unicode(stream: Any) -> bool:
    """Whether a stream takes every letter."""
    return _encoding(stream).lower().replace("_", "-").startswith("utf")


def _encoding(stream: Any) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def report_error(text: object) -> None:
    """Name a failure; an address that was given in a file's place is shown by its public name."""
    log_line(f"error: {_QUOTED.sub(_public, str(text))}")


_QUOTED = re.compile(r"`([^`]+)`")


def _public(quoted: re.Match[str]) -> str:
    address = quoted[1]
    secretive = re.search("[@=]", address) and (is_address(address) or "://" in address)
    return f"`{public_name(address)}`" if secretive else quoted[0]


def write_json(path: Path, value: Any) -> None:
    """An indented JSON file, whole or not at all; ``-`` is stdout. Raises ``SinkError``."""
    from edgeface.common.files import atomic_path

    if str(path) == "-":
        _write(_json(value, 2, not holds_unicode(sys.stdout)) + "\n")
        return
    text = _json(value, 2, False)
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
    out = Table(title=plain(title, one_line=True), title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        out.add_column(plain(column), justify="right" if number else "left", overflow="fold")
    for row in rows:
        out.add_row(*(plain(cell, one_line=True) for cell in row))
    with console.capture() as capture:
        console.print(out)
    _write("\n".join(line.rstrip() for line in capture.get().split("\n")).strip("\n") + "\n")  # colours are rich's own


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
