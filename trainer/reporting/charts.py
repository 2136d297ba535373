"""The charts of a report, drawn with matplotlib: every model in its colour, on one data set.

Each function takes the results by model name and gives a figure, or ``None`` where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from trainer.evaluation.scores import CS_YEARS

Results = Mapping[str, Mapping[str, Any]]

_COLOURS = ("#2f6690", "#d1653b", "#4c8c4a", "#8a5a9c", "#b8962e", "#5a626c")
_PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.3g}%")
_FEWEST = 10
"""Bins of a reliability diagram with fewer faces are left out: they jump about by chance."""
_GREY, _BAND = "#9aa3ad", "#e4efe4"
_LABELS = {
    "age_mae": "age error, years",
    "age_interval_within1": "age interval ± 1",
    "gender_accuracy": "gender accuracy",
    "race_accuracy": "race accuracy",
}


def charts(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """File stem, caption and figure of every chart that has something to show."""
    drawn = (
        ("cumulative", "Faces whose age is at most so many years off", cumulative(results)),
        ("bands", "Mean absolute age error by age band", bands(results)),
        ("confusion", "Labels (rows) against answers (columns), % of each label", confusion(results)),
        ("groups", "Accuracy and age error by group; a wide row treats people unequally", groups(results)),
        ("reliability", "How sure answers are against how often they are right; honest ones lie on the line",
         reliability(results)),
        ("coverage", "Ages inside the 90 % interval; the strip is 85 to 95 %", coverage(results)),
        ("robustness", "Six causes of trouble at strengths 0 (none) to 3", robustness(results)),
    )  # fmt: skip
    yield from ((stem, caption, figure) for stem, caption, figure in drawn if figure is not None)


def cumulative(results: Results) -> Figure | None:
    curves = {name: found["age"]["cs"] for name, found in results.items() if found["age"]["cs"][0] is not None}
    if not curves:
        return None
    figure, (axes,) = _figure(6.4, 3.6)
    for name, _, colour in _painted(results):
        if name in curves:
            axes.plot(CS_YEARS, curves[name], marker="o", markersize=3, color=colour, label=name)
    axes.set(xlabel="years off at most", ylim=(0, 1), xlim=(0, CS_YEARS[-1]))
    axes.yaxis.set_major_formatter(_PERCENT)
    axes.legend(frameon=False, loc="lower right")
    return figure


def bands(results: Results) -> Figure | None:
    names = list(dict.fromkeys(name for found in results.values() for name in found["age"]["bands"]))
    if not names:
        return None
    figure, (axes,) = _figure(7.2, 3.6)
    width = 0.8 / len(results)
    for number, (_, found, colour) in enumerate(_painted(results)):
        values = [found["age"]["bands"].get(band, {}).get("mae", 0.0) for band in names]
        places = [place - 0.4 + width * (number + 0.5) for place in range(len(names))]
        axes.bar(places, values, width * 0.92, color=colour)
    axes.set_xticks(range(len(names)), names)
    axes.set(xlabel="age, years", ylabel="error, years")
    _legend(figure, results)
    return figure


def confusion(results: Results) -> Figure | None:
    heads = [head for head in ("gender", "race", "age_groups") if any(found[head]["n"] for found in results.values())]
    if not heads:
        return None
    figure, axes = _figure(3.5 * len(heads), 3.4 * len(results), rows=len(results), columns=len(heads))
    cells = iter(axes)
    for name, found in results.items():
        for head in heads:
            _matrix(next(cells), found[head], f"{name}: {head.replace('_', ' ')}")
    return figure


def _matrix(axes: Axes, head: Mapping[str, Any], title: str) -> None:
    names, rows = head["names"], head["confusion"]
    shares = [[100 * count / max(sum(row), 1) for count in row] for row in rows]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            axes.text(
                j, i, f"{share:.0f}", ha="center", va="center", fontsize=8, color="w" if share > 55 else "#22262b"
            )
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.grid(False)


def groups(results: Results) -> Figure | None:
    figures = [
        name
        for name in _LABELS
        if any(_known(group.get(name)) for found in results.values() for group in _rows(found).values())
    ]
    rows = list(dict.fromkeys(row for found in results.values() for row in _rows(found)))
    if not figures or not rows:
        return None
    figure, axes = _figure(3.3 * len(figures) + 1.2, 0.26 * len(rows) + 1.2, columns=len(figures), share_y=True)
    for panel, name in zip(axes, figures):
        for _, found, colour in _painted(results):
            rated = [(_rows(found).get(row, {}).get(name), place) for place, row in enumerate(rows)]
            points = [(value, place) for value, place in rated if value is not None]
            if points:
                panel.plot(*zip(*points), "o", markersize=5, color=colour, alpha=0.85)
        panel.set_xlabel(_LABELS[name])
        panel.xaxis.set_major_locator(MaxNLocator(5))
        if name != "age_mae":
            panel.xaxis.set_major_formatter(_PERCENT)
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].invert_yaxis()
    _legend(figure, results)
    return figure


def _rows(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Each judged group's figures, gender first, then race, then age."""
    return {name: group for axis in found["fairness"].values() for name, group in axis["groups"].items()}


def reliability(results: Results) -> Figure | None:
    heads = [head for head in ("gender", "race") if any(found["honesty"][head]["bins"] for found in results.values())]
    if not heads:
        return None
    figure, axes = _figure(4.2 * len(heads), 4.0, columns=len(heads))
    for panel, head in zip(axes, heads):
        panel.plot([0, 1], [0, 1], color=_GREY, linewidth=1)
        for name, found, colour in _painted(results):
            honest = found["honesty"][head]
            told = [(sure, right) for faces, sure, right in honest["bins"] if faces >= _FEWEST]
            if told:
                sure, right = zip(*told)
                label = f"{name} (error {honest['ece']:.3f})"
                panel.plot(sure, right, marker="o", markersize=4, color=colour, label=label)
        panel.set(title=head, xlabel="mean confidence", ylabel="accuracy", xlim=(0.2, 1), ylim=(0, 1))
        panel.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def coverage(results: Results) -> Figure | None:
    rows: list[str] = []
    values: dict[str, dict[str, float]] = {}
    for model, found in results.items():
        honest = found["honesty"]["age"]
        cells = {"all": honest["coverage90"]}
        for axis in ("gender", "race", "age"):
            cells.update(honest["groups"].get(axis, {}))
        values[model] = {name: value for name, value in cells.items() if value is not None}
        rows += [name for name in values[model] if name not in rows]
    if not rows:
        return None
    figure, (axes,) = _figure(7.2, 0.26 * len(rows) + 1.2)
    axes.axvspan(0.85, 0.95, color=_BAND, zorder=0)
    axes.axvline(0.9, color=_GREY, linewidth=1, zorder=1)
    for model, _, colour in _painted(results):
        points = [(value, rows.index(name)) for name, value in values[model].items()]
        if points:
            axes.plot(*zip(*points), "o", markersize=5, color=colour, alpha=0.85)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(_PERCENT)
    _legend(figure, results)
    return figure


def robustness(results: Results) -> Figure | None:
    judged = {name: found["robustness"] for name, found in results.items() if "robustness" in found}
    if not judged:
        return None
    first = next(iter(judged.values()))
    figures = [name for name in _LABELS if any(_known(found["clean"].get(name)) for found in judged.values())]
    causes = list(first["causes"])
    figure, axes = _figure(2.1 * len(causes) + 0.8, 1.9 * len(figures) + 0.9, rows=len(figures), columns=len(causes))
    for number, panel in enumerate(axes):
        name, cause = figures[number // len(causes)], causes[number % len(causes)]
        for _, found, colour in _painted(results):
            if "robustness" not in found:
                continue
            seen = found["robustness"]
            curve = [seen["clean"].get(name), *seen["causes"][cause]["figures"].get(name, [])]
            if all(_known(value) for value in curve):
                panel.plot(range(len(curve)), curve, marker="o", markersize=3, color=colour)
        _robust_axes(panel, name, number, len(causes), cause if number < len(causes) else "")
    _same_heights(axes, len(causes))
    last = axes[-len(causes) :]
    for panel, cause in zip(last, causes):
        amounts = "  ".join(f"{amount:g}" for amount in first["causes"][cause]["amounts"])
        panel.set_xlabel(f"{amounts}\n{first['causes'][cause]['unit']}", fontsize=8)
    _legend(figure, results)
    return figure


def _robust_axes(panel: Axes, name: str, number: int, columns: int, title: str) -> None:
    panel.set_xticks(range(4))
    panel.set_title(title, fontsize=10)
    if name != "age_mae":
        panel.yaxis.set_major_formatter(_PERCENT)
    if number % columns == 0:
        panel.set_ylabel(_LABELS[name], fontsize=9)
    else:
        panel.tick_params(labelleft=False)


def _same_heights(axes: list[Axes], columns: int) -> None:
    """One scale a row, so that causes compare."""
    for start in range(0, len(axes), columns):
        row = axes[start : start + columns]
        low, high = (pick(end) for pick, end in zip((min, max), zip(*(panel.get_ylim() for panel in row))))
        for panel in row:
            panel.set_ylim(low, high)


def _figure(
    width: float, height: float, rows: int = 1, columns: int = 1, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=share_y).ravel())
    for panel in axes:
        panel.grid(True, color="#e6e9ed", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(figure: Figure, results: Results) -> None:
    """Names of the models above everything, where no point can lie under them."""
    handles = [Patch(color=colour, label=name) for name, _, colour in _painted(results)]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 3), frameon=False)


def _painted(results: Results) -> list[tuple[str, Mapping[str, Any], str]]:
    """Every model's name, figures and colour, the same in every chart."""
    return [(name, found, colour) for (name, found), colour in zip(results.items(), cycle(_COLOURS))]


def _known(value: float | None) -> bool:
    return value is not None
