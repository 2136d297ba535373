"""The files of a report, from what was measured."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from edgeface.common.files import atomic_path
from edgeface.common.html import document, markdown_table, table
from trainer.reporting.tables import tables

TITLE = "Models side by side"


def write_report(report: Mapping[str, Any], folder: Path) -> Path:
    """Write ``report.json``, ``report.md`` with its images and ``report.html``, which stands alone; returns the last.

    ``report``: ``{"models": [{"name", "file", "sha256"}], "data": {set: {"n", "folds", …}}, "results": {set: {model:
    what ``judge`` found}}}``, plain JSON values.
    """
    from trainer.reporting.charts import charts

    folder.mkdir(parents=True, exist_ok=True)
    page, text = [_facts_html(report)], [f"# {TITLE}\n", _facts(report)]
    for data, results in report["results"].items():
        page.append(f"<h2>{escape(data)}</h2><p class='note'>{escape(_about(report['data'][data]))}</p>")
        text.append(f"## {data}\n\n{_about(report['data'][data])}\n")
        found = [item for item in tables(results) if item.rows]
        page.append(table(found[0]))
        text.append(markdown_table(found[0]))
        for stem, caption, figure in charts(results):
            name, content = f"{data}-{stem}.png", io.BytesIO()
            figure.savefig(content, format="png")
            _write(folder / name, content.getvalue())
            encoded = base64.b64encode(content.getvalue()).decode()
            page.append(
                f"<h3>{escape(caption)}</h3><img alt='{escape(caption)}' src='data:image/png;base64,{encoded}'>"
            )
            text.append(f"### {caption}\n\n![{caption}]({name})\n")
        page += [table(item) for item in found[1:]]
        text += [markdown_table(item) for item in found[1:]]
    _write(folder / "report.json", (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    _write(folder / "report.md", "\n".join(text).encode())
    _write(folder / "report.html", document(TITLE, page).encode())
    return folder / "report.html"


def _facts(report: Mapping[str, Any]) -> str:
    return (
        "\n".join(
            f"- **{model['name']}**: `{model['file']}`, sha256 {model['sha256'][:16]}…" for model in report["models"]
        )
        + "\n"
    )


def _facts_html(report: Mapping[str, Any]) -> str:
    items = "".join(
        f"<li><b>{escape(model['name'])}</b>: {escape(model['file'])}, sha256 {escape(model['sha256'][:16])}…</li>"
        for model in report["models"]
    )
    return f"<ul>{items}</ul>"


def _about(data: Mapping[str, Any]) -> str:
    folds = "all folds" if data["folds"] is None else "folds " + ", ".join(map(str, data["folds"]))
    cut = "centre squares" if data["crops"] == "centre" else f"aligned, {data['missed_detections']} faces not found"
    left_out = f"{len(data['unreadable'])} unreadable, {len(data['skipped'])} without a usable label"
    return f"{data['n']} faces of {folds}; {cut}; {left_out}."


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
