"""What each way of learning adds: the rows of ``benchmarks/studies/ablation.toml``, each a short run of one recipe.

    python -m benchmarks.studies.ablation --soft runs/soft.safetensors --save benchmarks/results/ablation.json

Judged on the validation folds after the last epoch, on cached crops. A row that is finished is not trained again.
Beside the JSON file a table is written as Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeface.common.files import atomic_path
from edgeface.common.html import Table, markdown_table
from edgeface.common.machine import fingerprint
from edgeface.common.toml_file import read_toml
from trainer import checkpoint
from trainer.config import Config, load_config
from trainer.train import fit

ROWS = Path(__file__).with_name("ablation.toml")
_FIGURES = (
    ("utkface", "age_mae", "age MAE, y", 1),
    ("utkface", "gender_accuracy", "gender, %", 100),
    ("utkface", "race_accuracy", "race, %", 100),
    ("fairface", "age_interval_within1", "FairFace age ± 1 interval, %", 100),
    ("fairface", "gender_accuracy", "gender, %", 100),
    ("fairface", "race_accuracy", "race, %", 100),
)


def run_rows(plan: dict[str, Any], soft: Path, settings: Sequence[str], out: Path) -> dict[str, Any]:
    """Train every row that is not finished below ``out``; its settings and the figures of its last epoch, by name."""
    rows = {}
    for number, (name, own) in enumerate(plan["rows"].items(), 1):
        own = [text.format(soft=soft) for text in own]
        config = load_config(plan["recipe"], [*plan["settings"], *settings, *own, f"out={out / f'row{number}'}"])
        print(f"{number} of {len(plan['rows'])}: {name}", file=sys.stderr, flush=True)
        rows[name] = {"settings": [text.replace(str(soft), "{soft}") for text in own], **_trained(config)}
    return rows


def _trained(config: Config) -> dict[str, Any]:
    if not (Path(config.out) / "model.pt2").is_file():
        fit(config, resume=checkpoint.checkpoint_path(config).is_file())
    last = json.loads((Path(config.out) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return {"epochs": last["epoch"], "metrics": {source: last[source] for source in ("utkface", "fairface")}}


def markdown(result: dict[str, Any]) -> str:
    """A line a row, what it changes in bold where it is better than the first."""
    rows = result["rows"]
    columns = ("", *(title for _, _, title, _ in _FIGURES))
    first = next(iter(rows.values()))["metrics"]
    lines = [(name, *(_cell(row["metrics"], first, figure) for figure in _FIGURES)) for name, row in rows.items()]
    table = markdown_table(Table("What each way of learning adds", columns, lines))
    about = (
        f"`{result['recipe']}` with {', '.join(f'`{text}`' for text in result['settings'])}; each row is that recipe "
        "with the settings of `benchmarks/studies/ablation.toml`. Validation folds 2, averaged weights of the last "
        f"epoch; bold is better than the first row. One run each, seed {result['seed']}: differences below about 0.5 "
        "points "
        f"or 0.1 years are noise. {result['machine']['cpu']['name']}, {result['machine']['date']}."
    )
    return f"{table.rstrip()}\n\n{about}\n"


def _cell(metrics: dict[str, Any], first: dict[str, Any], figure: tuple[str, str, str, int]) -> str:
    source, key, _, scale = figure
    value, before = metrics[source][key], first[source][key]
    text = f"{scale * value:.{1 if scale == 100 else 2}f}"
    better = value < before if key == "age_mae" else value > before
    return f"**{text}**" if better else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--soft", type=Path, required=True, help="soft labels that `python -m trainer probe` wrote")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all rows: paths of data")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder of the runs")
    parser.add_argument("--save", type=Path, help="JSON file to write; the table goes beside it")
    options = parser.parse_args()
    plan = read_toml(ROWS, "plan of rows")
    result = {
        "recipe": plan["recipe"],
        "settings": plan["settings"],
        "seed": load_config(plan["recipe"], plan["settings"]).seed,
        "rows": run_rows(plan, options.soft, options.set, options.out),
        "machine": fingerprint(),
    }
    if options.save:
        for path, text in ((options.save, json.dumps(result, indent=2) + "\n"),
                           (options.save.with_suffix(".md"), markdown(result))):  # fmt: skip
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
