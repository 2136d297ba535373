"""A report's figures as tables of text, one column a model, so that two compare at a glance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgeface.common.html import Table

Results = Mapping[str, Mapping[str, Any]]
"""By model name, what ``trainer.evaluation.judge`` found on one data set."""

_SUMMARY: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("age: mean absolute error, years", ("age", "mae"), ".2f"),
    ("age: root mean squared error, years", ("age", "rmse"), ".2f"),
    ("age: R²", ("age", "r2"), ".3f"),
    ("age: bias, years", ("age", "bias"), "+.2f"),
    ("age: interval hit", ("age", "interval_accuracy"), ".1%"),
    ("age: interval hit or its neighbour", ("age", "interval_within1"), ".1%"),
    ("age: 90 % interval holds", ("honesty", "age", "coverage90"), ".1%"),
    ("gender: accuracy", ("gender", "accuracy"), ".1%"),
    ("gender: macro F1", ("gender", "f1"), ".3f"),
    ("gender: AUC", ("gender", "auc"), ".3f"),
    ("gender: calibration error", ("honesty", "gender", "ece"), ".3f"),
    ("race: accuracy", ("race", "accuracy"), ".1%"),
    ("race: macro F1", ("race", "f1"), ".3f"),
    ("race: AUC", ("race", "auc"), ".3f"),
    ("race: calibration error", ("honesty", "race", "ece"), ".3f"),
    ("six age groups: accuracy", ("age_groups", "accuracy"), ".1%"),
    ("six age groups: AUC", ("age_groups", "auc"), ".3f"),
    ("six age groups: macro F1", ("age_groups", "f1"), ".3f"),
    ("six age groups: macro precision", ("age_groups", "precision"), ".3f"),
    ("age score (1 - RMSE / range)", ("harmonic", "age_score"), ".3f"),
    ("harmonic mean of age score and gender F1", ("harmonic", "score"), ".3f"),
)
_DIFFERENCES = (
    ("gender", "equalised_odds", "gender: equalised odds"),
    ("gender", "demographic_parity", "gender: demographic parity"),
    ("gender", "demographic_parity_labels", "gender: the labels' own parity"),
    ("race", "equalised_odds", "race: equalised odds"),
    ("race", "demographic_parity", "race: demographic parity"),
    ("race", "demographic_parity_labels", "race: the labels' own parity"),
)
_GAPS = (
    ("age_mae", "age error, years", ".2f"),
    ("age_interval_within1", "age interval or neighbour", ".3f"),
    ("gender_accuracy", "gender accuracy", ".3f"),
    ("race_accuracy", "race accuracy", ".3f"),
)


def tables(results: Results) -> Iterator[Table]:
    """Summary, classes, bands, fairness and robustness of one data set; rows that no one has are left out."""
    yield _by_model("all faces", results, [(text, _at(*path), style) for text, path, style in _SUMMARY])
    for head in ("gender", "race", "age_groups"):
        yield _classes(head, results)
    yield _bands(results)
    for axis in ("gender", "race", "age"):
        yield _fairness(axis, results)
    if any("robustness" in found for found in results.values()):
        yield _robustness(results)


def _classes(head: str, results: Results) -> Table:
    names = _union(found[head]["classes"] for found in results.values())
    rows = [
        (f"{name}: {figure}", _at(head, "classes", name, figure), ".3f")
        for name in names
        for figure in ("precision", "recall", "f1", "auc")
    ]
    return _by_model(f"{head.replace('_', ' ')}: classes", results, rows)


def _bands(results: Results) -> Table:
    names = _union(found["age"]["bands"] for found in results.values())
    rows = [(f"{name}: error, years", _at("age", "bands", name, "mae"), ".2f") for name in names]
    rows += [(f"{name}: bias, years", _at("age", "bands", name, "bias"), "+.2f") for name in names]
    return _by_model("age bands", results, rows)


def _fairness(axis: str, results: Results) -> Table:
    rows = [(f"gap in {text}", _at("fairness", axis, "gaps", name), style) for name, text, style in _GAPS]
    rows += [(text, _at("fairness", axis, head, name), ".3f") for head, name, text in _DIFFERENCES]
    return _by_model(f"fairness between groups of {axis}", results, rows)


def _robustness(results: Results) -> Table:
    first = next(found["robustness"] for found in results.values() if "robustness" in found)
    rows = []
    for figure in first["clean"]:
        style = ".2f" if figure == "age_mae" else ".1%"
        rows.append((f"{figure.replace('_', ' ')}: undistorted", _at("robustness", "clean", figure), style))
        for cause in first["causes"]:
            path = ("robustness", "causes", cause, "figures", figure, "1")
            rows.append((f"{figure.replace('_', ' ')}: {cause}", _at(*path), style))
    return _by_model(f"robustness at middle strength, {first['n']} faces", results, rows)


def _by_model(
    title: str, results: Results, rows: list[tuple[str, Callable[[Mapping[str, Any]], float | None], str]]
) -> Table:
    body = []
    for text, pick, style in rows:
        values = [pick(found) for found in results.values()]
        if any(value is not None for value in values):
            body.append((text, *("" if value is None else format(value, style) for value in values)))
    return Table(title, ("", *results), body)


def _at(*path: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Picks the value at a path of keys (and list positions), ``None`` where there is none."""

    def pick(found: Any) -> float | None:
        for key in path:
            if isinstance(found, list):
                found = found[int(key)] if int(key) < len(found) else None
            else:
                found = None if found is None else found.get(key)
        return None if found is None else float(found)

    return pick


def _union(parts: Iterator[Mapping[str, Any]] | Any) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part))
