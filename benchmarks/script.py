"""What the measuring commands share: their options, their output, Markdown tables, and where their images are."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeface.common.console import echo, log_line, report_error, write_json
from edgeface.errors import EdgefaceError

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
Results = dict[str, Any]
Tables = dict[str, str]


def run_script(
    description: str | None,
    measure: Callable[[argparse.Namespace], Results],
    tables: Callable[[Results], Tables],
    arguments: Sequence[str] | None = None,
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    plot: Callable[[Results, Path], None] | None = None,
) -> int:
    """Parse ``arguments`` (``None``: the command line's), measure, save, plot, print every table; return the exit code.

    Results of ``--quick`` say so (``"quick": true``), since their figures are for no document.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path, help="also write the result to this JSON file, plots beside it")
    parser.add_argument("--quick", action="store_true", help="few and small measurements, to see that it works")
    add_options(parser)
    options = parser.parse_args(arguments)
    try:
        results = measure(options) | ({"quick": True} if options.quick else {})
        if options.save:
            write_json(options.save, results)
            if plot:
                plot(results, options.save.with_suffix(".png"))
    except EdgefaceError as error:
        report_error(error)
        return 1
    for name, text in tables(results).items():
        echo(f"{name}\n\n{text}\n")
    if options.save:
        log_line(f"wrote {options.save}")
    return 0


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column flush left."""
    rule = ["---"] + ["---:"] * (len(columns) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [columns, rule, *rows])
