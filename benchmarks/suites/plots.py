"""A suite's results as an image."""

from __future__ import annotations

from pathlib import Path

from benchmarks.script import Results
from benchmarks.suites.bench_tables import number
from edgeface.common.files import atomic_path
from edgeface.common.install import missing

_INK, _OURS, _THEIRS = "#333333", "#d95f0e", "#9ecae1"
_AXIS_START = 0.5
"""In our time, so that our own bar has a length."""


def plot(results: Results, path: Path) -> None:
    """Bars of what each network takes of our time, on a logarithmic axis. Raises ``MissingDependencyError``."""
    try:
        import matplotlib
    except ImportError as error:
        raise missing("matplotlib", "train", "drawing the networks' costs") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    (case,) = results["cases"]
    rows = sorted((row for row in case["rows"] if "cost" in row), key=lambda row: row["cost"]["median"], reverse=True)
    costs = [row["cost"]["median"] for row in rows]
    colours = [_OURS if row["name"] == case["rows"][0]["name"] else _THEIRS for row in rows]
    figure, axes = plt.subplots(figsize=(7.5, 0.42 * len(rows) + 0.9))
    bars = axes.barh([row["name"] for row in rows], costs, color=colours)
    labels = [f" {number(cost)}×  {number(row['ms'])} ms" for cost, row in zip(costs, rows)]
    axes.bar_label(bars, labels, color=_INK)
    axes.set_xscale("log")
    axes.set_xlim(_AXIS_START, 20 * max(costs))
    axes.set_xticks([], [])
    axes.minorticks_off()
    axes.tick_params(length=0, colors=_INK)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title("Time of one face, one thread (logarithmic)", loc="left", fontsize=10, color=_INK)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
