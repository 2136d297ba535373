"""Reports: whole, self-contained, two models side by side, and nothing in them that no one measured."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra `train`)")

from edgeface.evaluation.metrics import AGE_INTERVALS, Labels, age_interval
from edgeface.types import Attributes
from trainer.evaluation.judge import figures, plain
from trainer.evaluation.robustness import CAUSES
from trainer.reporting import write_report
from trainer.reporting.charts import charts
from trainer.reporting.tables import tables

COUNT = 900


def results(noise: float, seed: int, exact: bool = True, race: bool = True) -> dict[str, Any]:
    """Figures of a made-up model that errs by about ``noise``."""
    rng = np.random.default_rng(0)
    age, gender, folk = rng.uniform(1, 95, COUNT), rng.integers(0, 2, COUNT), rng.integers(0, 5, COUNT)
    labels = Labels(
        age if exact else np.full(COUNT, np.nan), np.full(COUNT, -1) if exact else age_interval(age), gender, folk
    )
    rng = np.random.default_rng(seed)
    said = Attributes(
        np.clip(age + rng.normal(0, 4 * noise, COUNT), 0, 100),
        rng.uniform(3, 6, COUNT),
        softmax(3 * np.eye(2)[gender] + rng.normal(0, noise, (COUNT, 2))),
        softmax(3 * np.eye(5)[folk] + rng.normal(0, noise, (COUNT, 5))) if race else np.full((COUNT, 5), np.nan),
    )
    found = figures(said, labels)
    names = ("age_mae" if exact else "age_interval_within1", "gender_accuracy", "race_accuracy")
    clean = {"age_mae": 4 * noise, "age_interval_within1": 0.9, "gender_accuracy": 0.95, "race_accuracy": 0.85}
    causes = {}
    for number, (cause, (_, amounts, unit)) in enumerate(CAUSES.items()):
        worse = {
            name: [
                clean[name] * (1 + (number + 1) * step * (0.1 if name == "age_mae" else -0.02)) for step in (1, 2, 3)
            ]
            for name in names
        }
        causes[cause] = {"unit": unit, "amounts": list(amounts), "figures": worse}
    found["robustness"] = {"n": 500, "clean": {name: clean[name] for name in names}, "causes": causes}
    return dict(plain(found))


def softmax(logits: Any) -> Any:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    about = {
        "missed_detections": 3,
        "unreadable": [],
        "skipped": ["a"],
        "crops": "aligned",
        "folds": [0, 1],
        "n": COUNT,
    }
    return {
        "models": [{"name": name, "file": f"{name}.onnx", "sha256": "ab" * 32} for name in ("sm<all", "base")],
        "data": {"utkface": about, "fairface": about},
        "results": {
            "utkface": {"sm<all": results(1.6, 1), "base": results(1.0, 2)},
            "fairface": {"sm<all": results(1.6, 1, exact=False, race=False), "base": results(1.0, 2, exact=False)},
        },
    }


@pytest.fixture(scope="module")
def folder(report: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert write_report(report, folder) == folder / "report.html"
    return folder


def test_the_page_stands_alone_and_escapes_names(folder: Path, report: dict[str, Any]) -> None:
    page = (folder / "report.html").read_text()
    HTMLParser().feed(page)
    assert "sm&lt;all" in page and "sm<all" not in page
    assert not re.search(r'<script|@import|url\(|src="', page)
    assert set(re.findall(r"src='([^,]*),", page)) == {"data:image/png;base64"}
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report))


def test_the_markdown_shows_pictures_that_are_there(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert {name.split("-")[0] for name in shown} == {"utkface", "fairface"} and len(shown) == len(set(shown))
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in shown)
    assert set(shown) == {path.name for path in folder.glob("*.png")}
    assert "900 faces of folds 0, 1; aligned, 3 faces not found; 0 unreadable, 1 without a usable label." in text


def test_charts_only_of_what_the_labels_allow(report: dict[str, Any]) -> None:
    exact = [stem for stem, _, _ in charts(report["results"]["utkface"])]
    assert exact == ["cumulative", "bands", "confusion", "groups", "reliability", "coverage", "robustness"]
    censored = [stem for stem, _, _ in charts(report["results"]["fairface"])]
    assert censored == ["confusion", "groups", "reliability", "robustness"]
    assert len(AGE_INTERVALS) == 9


def test_tables_show_a_column_a_model_and_no_empty_row(report: dict[str, Any]) -> None:
    first, *others = tables(report["results"]["fairface"])
    assert first.columns == ("", "sm<all", "base")
    rows = {row[0]: row[1:] for row in first.rows}
    assert rows["race: accuracy"][0] == "" and rows["race: accuracy"][1].endswith("%")
    assert not any(name.startswith("age: mean") for name in rows)
    assert all(any(cell for cell in row[1:]) for table in others for row in table.rows)
    titles = [table.title for table in others]
    assert "fairness between groups of race" in titles and "robustness at middle strength, 500 faces" in titles
