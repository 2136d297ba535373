"""Pages that stand alone: one HTML file with its style, tables and charts inside, nothing from the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

_STYLE = """
body { font: 15px/1.45 sans-serif; color: #22262b; max-width: 900px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin-top: 2em } h3 { font-size: 1em; margin-bottom: .3em }
table { border-collapse: collapse; margin: .5em 0 1.2em } caption { text-align: left; font-weight: bold }
th, td { padding: .15em .8em .15em 0; text-align: right; border-bottom: 1px solid #dfe3e8; font-weight: normal }
th:first-child, td:first-child { text-align: left } svg, img { max-width: 100%; height: auto }
.passed { color: #1e7d45 } .failed { color: #c0392b } p.note { color: #5a626c; font-size: .9em }
"""


class Table(NamedTuple):
    """A title, the columns' names and rows of cells."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page of HTML ``parts`` under its title."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def table(content: Table) -> str:
    """``content`` as an HTML table; text is escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in content.columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in content.rows)
    return f"<table><caption>{escape(content.title)}</caption><tr>{head}</tr>{body}</table>"


def markdown_table(content: Table) -> str:
    """``content`` as a Markdown table under its title in bold."""
    lines = [content.columns, ("---", *["---:"] * (len(content.columns) - 1)), *content.rows]
    rows = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"**{content.title}**\n\n{rows}\n"
