"""The tables and plots of README, ``docs/`` and the weights' cards from the results files, lest the two drift apart.

    python -m benchmarks.tables.generate            # draw the plots, write every table between its markers
    python -m benchmarks.tables.generate --check    # exit 1, naming the first table and line that differ

A document asks for a table by ``<!-- table: NAME -->`` … ``<!-- /table -->``; its name begins with that of the results
file it comes from. ``<!-- plot: NAME -->`` … ``<!-- /plot -->`` shows the PNG file that lies beside a results file.
What is not measured yet says so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from benchmarks.script import ROOT, Results, Tables
from edgeface.common.console import log_line, report_error
from edgeface.common.files import atomic_path
from edgeface.errors import ConfigError, EdgefaceError

RESULTS = ROOT / "benchmarks" / "results"
_OPEN = re.compile(r"<!-- (table|plot): (\w+) -->\n")


class Source(NamedTuple):
    """What the names of some tables begin with, and the module whose ``function`` makes them of results.

    Results are the file of that name, given as it is, or the ``files``, given by name. ``plot`` names the module whose
    function ``plot`` draws them; a plot may also be made where it is measured.
    """

    results: str
    module: str
    function: str = "tables"
    plot: str = ""
    files: tuple[str, ...] = ()

    def paths(self, folder: Path) -> list[Path]:
        """The results files."""
        return [folder / f"{name}.json" for name in self.files or (self.results,)]


_CARD = ("evaluate_utkface", "evaluate_fairface", "honesty_utkface", "honesty_fairface")
SUITES = ("attributes", "runtimes", "detector", "preprocess", "toolkits", "video")
SOURCES = (
    Source("bench_networks", "benchmarks.suites.bench_tables", plot="benchmarks.suites.plots"),
    *(Source(f"bench_{suite}", "benchmarks.suites.bench_tables") for suite in SUITES),
    Source("quality", "benchmarks.tables.quality_tables", "quality", files=("evaluate_utkface", "evaluate_fairface")),
    Source(
        "precision", "benchmarks.tables.quality_tables", "precision", files=("parity_attributes", "bench_precision")
    ),
    Source(
        "video",
        "benchmarks.tables.quality_tables",
        "video",
        files=("fusion", "soak", "pipeline_efficiency", "cpp_frames"),
    ),
    Source("fusion", "benchmarks.tables.quality_tables", "fusion"),
    Source("card", "benchmarks.tables.card_tables", "card", files=_CARD),
    Source(
        "fairface_card",
        "benchmarks.tables.card_tables",
        "fairface_card",
        files=tuple(f"{f}_by_fairface" for f in _CARD),
    ),
    Source("race_odds", "benchmarks.studies.race_odds"),
    Source("scaling", "benchmarks.resources.scaling"),
    Source("footprint", "benchmarks.resources.footprint"),
    Source("artefacts", "benchmarks.studies.artefact_study"),
    Source("predict_batch", "benchmarks.studies.predict_batch"),
    Source("detector_street", "benchmarks.detection.street"),
)


class Block(NamedTuple):
    """What belongs between two markers of a text, and where what lies between them begins and ends."""

    kind: str
    name: str
    start: int
    end: int


def documents(root: Path = ROOT) -> list[Path]:
    """The pages that may hold tables."""
    cards = (root / "edgeface" / "assets" / "models").glob("*.md")
    return [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted(cards)]


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
    absent = [path for path in source.paths(folder) if not path.is_file()]
    if absent:
        return f"*Not measured yet: there is no `{absent[0].name}`.*"
    made = tables_of(source, folder)
    if name not in made:
        raise ConfigError(f"`{source.results}` has no table `{name}`, it has {', '.join(sorted(made))}")
    return made[name].strip()


def tables_of(source: Source, folder: Path) -> Tables:
    """All tables of a source. Raises ``ConfigError`` where its results are none that its module can read."""
    paths = source.paths(folder)
    results = {path.stem: results_in(path) for path in paths}
    try:
        make = getattr(importlib.import_module(source.module), source.function)
        made: Tables = make(results if source.files else results[source.results])
    except (KeyError, TypeError, IndexError) as error:
        names = ", ".join(f"`{path.name}`" for path in paths)
        raise ConfigError(f"{names}: not what `{source.module}` reads, measure again ({error!r})") from error
    return made


def results_in(path: Path) -> Results:
    """A results file. Raises ``ConfigError`` where it is damaged or of a quick run."""
    try:
        results: Results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"`{path.name}` is no results file, measure again ({error})") from error
    if results.get("quick"):
        raise ConfigError(f"`{path.name}` comes from a quick run, whose figures mean nothing: measure without --quick")
    return results


def plot(name: str, page: Path, folder: Path = RESULTS) -> str:
    """The Markdown that shows a plot on ``page``."""
    path = folder / f"{name}.png"
    if not path.is_file():
        return f"*Not drawn yet: there is no `{path.name}`.*"
    return f"![{name.replace('_', ' ')}]({os.path.relpath(path, page.parent).replace(os.sep, '/')})"


def draw_plots(folder: Path = RESULTS, sources: Sequence[Source] = SOURCES) -> None:
    """Draw what the sources can draw of the results that are there."""
    for source in sources:
        (path, *_) = source.paths(folder)
        if source.plot and path.is_file():
            importlib.import_module(source.plot).plot(results_in(path), path.with_suffix(".png"))


def blocks(text: str, where: str) -> list[Block]:
    """What a document asks for. Raises ``ConfigError`` for a marker that is not closed."""
    found = []
    for match in _OPEN.finditer(text):
        close = f"<!-- /{match[1]} -->"
        end = text.find(close, match.end())
        if end < 0 or _OPEN.search(text, match.end(), end):
            raise ConfigError(f"{where}: {match[1]} `{match[2]}` has no `{close}`")
        found.append(Block(match[1], match[2], match.end(), end))
    return found


def content(block: Block, page: Path, folder: Path, sources: Sequence[Source]) -> str:
    """What belongs between a block's markers."""
    return plot(block.name, page, folder) if block.kind == "plot" else table(block.name, folder, sources)


def rendered(page: Path, folder: Path = RESULTS, sources: Sequence[Source] = SOURCES) -> str:
    """The document with all its tables and plots as the results say."""
    text = page.read_text(encoding="utf-8")
    for block in reversed(blocks(text, page.name)):
        text = f"{text[: block.start]}\n{content(block, page, folder, sources)}\n\n{text[block.end :]}"
    return text


def difference(page: Path, folder: Path = RESULTS, sources: Sequence[Source] = SOURCES) -> str | None:
    """The first table of a document that is not what the results say, as a sentence; ``None`` where all are."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(text, page.name):
        found = text[block.start : block.end].strip().splitlines()
        wanted = content(block, page, folder, sources).splitlines()
        for number, (have, want) in enumerate(zip_longest(found, wanted, fillvalue="nothing"), 1):
            if have != want:
                return (
                    f"{page.name}: {block.kind} `{block.name}`, line {number}: expected `{want}`, found `{have}`; "
                    "write it with: python -m benchmarks.tables.generate"
                )
    return None


def check(pages: Sequence[Path], folder: Path = RESULTS, sources: Sequence[Source] = SOURCES) -> str | None:
    """The first difference of all ``pages``."""
    return next((found for page in pages if (found := difference(page, folder, sources))), None)


def write(pages: Sequence[Path], folder: Path = RESULTS, sources: Sequence[Source] = SOURCES) -> list[Path]:
    """Bring all ``pages`` up to date; returns those that changed. None is written where one cannot be."""
    texts = [(page, rendered(page, folder, sources)) for page in pages]
    changed = [(page, text) for page, text in texts if text != page.read_text(encoding="utf-8")]
    for page, text in changed:
        with atomic_path(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [page for page, _ in changed]


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
            draw_plots()
            changed = write(documents())
            log_line(
                f"wrote tables of {', '.join(page.name for page in changed)}"
                if changed
                else "all tables are up to date"
            )
    except EdgefaceError as error:
        report_error(error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
