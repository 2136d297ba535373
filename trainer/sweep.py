"""One recipe with every combination of some settings: each a run of its own, one table of how they ended."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeface.common.files import atomic_path
from edgeface.common.html import Table, markdown_table
from edgeface.errors import ConfigError, EdgefaceError
from trainer import checkpoint
from trainer.config import Config, load_config

_CHOSEN = ("age_mae", "age_interval_within1", "gender_accuracy", "race_accuracy", "race_f1")
"""Figures that the table shows; sweep.json holds all."""


def run_sweep(recipe: Path, over: Sequence[str], settings: Sequence[str], out: Path) -> str:
    """Run what is not finished yet below ``out``; write sweep.json and sweep.md there and return the latter's text.

    A run that ends in an error is noted with its sentence, and the others go on. A run that was broken off goes on from
    its checkpoint, a finished one only adds its line. Raises ``ConfigError`` where a combination is no valid recipe.
    """
    combinations = [dict(pairs) for pairs in itertools.product(*map(_values, over))]
    runs = [(values, _config(recipe, settings, values, out)) for values in combinations]
    results: list[dict[str, Any]] = []
    for values, config in runs:
        results.append({"settings": values, "out": config.out, **_run(config)})
        _write(out / "sweep.json", json.dumps({"recipe": str(recipe), "runs": results}, indent=2) + "\n")
        _write(out / "sweep.md", _table(recipe, results))
    return _table(recipe, results)


def _values(text: str) -> list[tuple[str, str]]:
    """``key=v1,v2`` as (key, value) pairs; commas inside brackets belong to a value, and a value may be empty."""
    key, found, rest = text.partition("=")
    if not found or not key.strip():
        raise ConfigError(f"--over {text}: expected key=value,value as in --over ema=0,0.999")
    values, depth = [""], 0
    for letter in rest:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            values.append("")
        else:
            values[-1] += letter
    return [(key.strip(), value.strip()) for value in values]


def _config(recipe: Path, settings: Sequence[str], values: dict[str, str], out: Path) -> Config:
    name = "_".join(f"{key}={value or 'none'}" for key, value in values.items())
    folder = out / "".join(letter if letter.isalnum() or letter in "=_.-" else "-" for letter in name)
    return load_config(recipe, [*settings, *(f"{key}={value}" for key, value in values.items()), f"out={folder}"])


def _run(config: Config) -> dict[str, Any]:
    """Train one combination unless its program is there; its figures, or the sentence of what went wrong."""
    from trainer.train import fit

    program = Path(config.out) / "model.pt2"
    try:
        if not program.is_file():
            fit(config, resume=checkpoint.checkpoint_path(config).is_file())
        else:
            checkpoint.require_same(config)
        return _ended(config)
    except EdgefaceError as error:
        return {"error": str(error)}


def _ended(config: Config) -> dict[str, Any]:
    """Epochs done, and the metrics on the validation folds that the program carries."""
    from edgeface.export.onnx_export import load_program

    lines = (Path(config.out) / "metrics.jsonl").read_text().splitlines()
    spec = load_program(Path(config.out) / "model.pt2")[1]
    return {"epochs": json.loads(lines[-1])["epoch"] if lines else 0, "metrics": dict(spec.metrics)}


def _table(recipe: Path, results: Sequence[dict[str, Any]]) -> str:
    """Markdown: one line a run, a column a setting and a figure of each data set."""
    figures = sorted(
        {(source, name) for run in results for source, found in run.get("metrics", {}).items() for name in found},
        key=lambda pair: (pair[0], _CHOSEN.index(pair[1]) if pair[1] in _CHOSEN else -1),
    )
    shown = [pair for pair in figures if pair[1] in _CHOSEN]
    columns = (*results[0]["settings"], "epochs", *(f"{source} {name}" for source, name in shown))
    rows = []
    for run in results:
        end = run.get("error", str(run.get("epochs", "")))
        cells = [run.get("metrics", {}).get(source, {}).get(name) for source, name in shown]
        rows.append((*(value or "none" for value in run["settings"].values()), end, *map(_cell, cells)))
    return markdown_table(Table(f"Sweep of {recipe.name}", columns, rows))


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
