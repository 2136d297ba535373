"""A measured curve, the power law fitted to it, and its plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from edgeface.common.files import atomic_path
from edgeface.common.install import missing

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Fit:
    """``y = factor · x ** exponent``, and the exponent's 95 % interval, wide where the points follow no power law."""

    exponent: float
    low: float
    high: float
    factor: float


@dataclass(frozen=True)
class Curve:
    """What was measured at each ``x``, the exponent that it should grow with and ``why``.

    ``fitted_from``: smaller ``x`` are shown but left out of the fit. ``notes``: more about each point, by column.
    """

    name: str
    x_label: str
    y_label: str
    expected: float
    why: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    fitted_from: float = 0.0
    notes: Mapping[str, Sequence[float]] | None = None

    @property
    def fit(self) -> Fit:
        kept = [(x, y) for x, y in zip(self.x, self.y) if x >= self.fitted_from]
        return power_law([x for x, _ in kept], [y for _, y in kept])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        fit = {name: rounded(value) for name, value in asdict(self.fit).items()}
        return {**asdict(self), "y": [rounded(value) for value in self.y], "fit": fit}


def power_law(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Least squares of log y on log x, with Student's interval of the slope; three points or more."""
    if len(x) < 3:
        raise ValueError(f"a power law needs three points, found {len(x)}")
    log_x, log_y = np.log(x), np.log(y)
    across = log_x - log_x.mean()
    slope = float(across @ log_y / (across @ across))
    off = log_y - log_y.mean() - slope * across
    error = math.sqrt(float(off @ off) / (len(x) - 2) / float(across @ across))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(x) - 2)) * error
    return Fit(slope, slope - reach, slope + reach, math.exp(float(log_y.mean()) - slope * float(log_x.mean())))


def rounded(value: float) -> float:
    """Four digits that count."""
    return float(f"{value:.4g}")


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Every one of ``results["curves"]`` on logarithmic axes, with its fit and what was expected, as a PNG.

    Raises ``MissingDependencyError`` without matplotlib.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise missing("matplotlib", "train", "drawing the curves") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves, columns = results["curves"], 3
    rows = math.ceil(len(curves) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.3 * rows), squeeze=False)
    for axis, curve in zip(axes.flat, curves):
        _draw(axis, curve)
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


def _draw(axis: Any, curve: Mapping[str, Any]) -> None:
    x, y, fit = np.array(curve["x"]), np.array(curve["y"]), curve["fit"]
    line = x[x >= curve["fitted_from"]]
    middle = np.exp(np.log(line).mean())
    expected = fit["factor"] * middle ** fit["exponent"] * (line / middle) ** curve["expected"]
    axis.loglog(line, expected, "--", color="0.6", label=f"expected: {curve['expected']:g}")
    axis.loglog(line, fit["factor"] * line ** fit["exponent"], "-", color="tab:blue", label=f"fit: {measured(fit)}")
    axis.loglog(x, y, "o", color="tab:orange", markersize=5)
    low, high = y.min(), y.max()
    if high < 10 * low:  # a flat curve looks flat
        axis.set_ylim(math.sqrt(low * high) / 10, math.sqrt(low * high) * 10)
    axis.set_title(curve["name"], fontsize=10)
    axis.set_xlabel(curve["x_label"], fontsize=9)
    axis.set_ylabel(curve["y_label"], fontsize=9)
    axis.tick_params(labelsize=8)
    axis.set_xticks(x, [f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in x])
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.tick_params(axis="both", which="minor", labelbottom=False, labelleft=False)
    axis.grid(True, which="major", color="0.9")
    axis.legend(fontsize=8, loc="best")


def measured(fit: Mapping[str, float]) -> str:
    """The exponent and its interval."""
    return f"{fit['exponent']:.2f} ({fit['low']:.2f} to {fit['high']:.2f})"
