"""The tables of the README and of ``docs/`` from the results files, so that the two cannot drift apart.

    python -m benchmarks.report            # write every table between its markers
    python -m benchmarks.report --check    # exit 1, naming the first table and line that differ

A document asks for a table by ``<!-- table: NAME -->`` … ``<!-- /table -->``. Names begin with the name of the results
file they come from. A table whose file does not exist yet says so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from benchmarks.script import ROOT, Results, Tables
from edgeface.artifact import atomic_path
from edgeface.cli.output import complain, note
from edgeface.errors import ConfigError, EdgefaceError

RESULTS = ROOT / "benchmarks" / "results"
_OPEN = re.compile(r"<!-- table: (\w+) -->\n")
_CLOSE = "<!-- /table -->"


class Source(NamedTuple):
    """A results file, without its ending, and the module whose ``function`` makes tables of it."""

    results: str
    module: str
    function: str = "tables"


SOURCES = (
    *(
        Source(f"bench_{suite}", "benchmarks.suites.tables")
        for suite in ("attributes", "runtimes", "networks", "detector", "preprocess", "toolkits", "video")
    ),
    Source("scaling", "benchmarks.scaling"),
    Source("footprint", "benchmarks.footprint"),
    Source("artefacts", "benchmarks.artefacts"),
    Source("predict_batch", "benchmarks.predict_batch"),
)


class Block(NamedTuple):
    """A table's place in a text: its name, and where what lies between the markers begins and ends."""

    name: str
    start: int
    end: int


def documents(root: Path = ROOT) -> list[Path]:
    """The pages that may hold tables."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def source_of(name: str, sources: Sequence[Source] = SOURCES) -> Source:
    """Where a table comes from. Raises ``ConfigError`` for a name that no results file begins."""
    fitting = [source for source in sources if name == source.results or name.startswith(f"{source.results}_")]
    if not fitting:
        raise ConfigError(
            f"no table `{name}`: expected a name that begins with one of {', '.join(s.results for s in sources)}"
        )
    return max(fitting, key=lambda source: len(source.results))


def table(name: str, folder: Path = RESULTS, sources: Sequence[Source] = SOURCES) -> str:
    """The Markdown of a table. Raises ``ConfigError`` where the results are quick, damaged, or do not hold it."""
    source = source_of(name, sources)
    path = folder / f"{source.results}.json"
    if not path.is_file():
        return f"*Not measured yet: there is no `{path.name}`.*"
    made = tables_of(source, path)
    if name not in made:
        raise ConfigError(f"`{path.name}` holds no table `{name}`, it has {', '.join(sorted(made))}")
    return made[name].strip()


def tables_of(source: Source, path: Path) -> Tables:
    """All tables of a results file. Raises ``ConfigError`` where it is none that the source's module can read."""
    try:
        results: Results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"`{path.name}` is no results file, measure again ({error})") from error
    if results.get("quick"):
        raise ConfigError(f"`{path.name}` comes from a quick run, whose figures mean nothing: measure without --quick")
    try:
        made: Tables = getattr(importlib.import_module(source.module), source.function)(results)
    except (KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"`{path.name}` is not what `{source.module}` reads, measure again ({error!r})") from error
    return made


def blocks(text: str, where: str) -> list[Block]:
    """The tables that a document asks for. Raises ``ConfigError`` for a marker that is not closed."""
    found = []
    for match in _OPEN.finditer(text):
        end = text.find(_CLOSE, match.end())
        if end < 0 or _OPEN.search(text, match.end(), end):
            raise ConfigError(f"{where}: table `{match[1]}` has no `{_CLOSE}`")
        found.append(Block(match[1], match.end(), end))
    return found


def rendered(text: str, where: str, folder: Path = RESULTS, sources: Sequence[Source] = SOURCES) -> str:
    """The document with all its tables as the results say."""
    for block in reversed(blocks(text, where)):
        text = f"{text[: block.start]}\n{table(block.name, folder, sources)}\n\n{text[block.end :]}"
    return text


def difference(text: str, where: str, folder: Path = RESULTS, sources: Sequence[Source] = SOURCES) -> str | None:
    """The first table of a document that is not what the results say, as a sentence; ``None`` where all are."""
    for block in blocks(text, where):
        found = text[block.start : block.end].strip().splitlines()
        wanted = table(block.name, folder, sources).splitlines()
        for number, (have, want) in enumerate(zip_longest(found, wanted, fillvalue="nothing"), 1):
            if have != want:
                return (
                    f"{where}: table `{block.name}`, line {number}: expected `{want}`, found `{have}`; "
                    "write it with: python -m benchmarks.report"
                )
    return None


def check(pages: Sequence[Path], folder: Path = RESULTS, sources: Sequence[Source] = SOURCES) -> str | None:
    """The first difference of all ``pages``."""
    texts = ((page.name, page.read_text(encoding="utf-8")) for page in pages)
    return next((found for name, text in texts if (found := difference(text, name, folder, sources))), None)


def write(pages: Sequence[Path], folder: Path = RESULTS, sources: Sequence[Source] = SOURCES) -> list[Path]:
    """Bring the tables of all ``pages`` up to date; returns those that changed. Nothing is written on an error."""
    news = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        new = rendered(text, page.name, folder, sources)
        news += [(page, new)] if new != text else []
    for page, new in news:
        with atomic_path(page) as temporary:
            temporary.write_text(new, encoding="utf-8")
    return [page for page, _ in news]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where a document and results differ"
    )
    options = parser.parse_args(arguments)
    try:
        if options.check:
            found = check(documents())
            if found:
                raise ConfigError(found)
        else:
            changed = write(documents())
            note(
                f"wrote tables of {', '.join(page.name for page in changed)}"
                if changed
                else "all tables are up to date"
            )
    except EdgefaceError as error:
        complain(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
