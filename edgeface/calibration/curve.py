"""How large a calibration set has to be: the ranges of its first images against those of all."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.calibration.set_file import CalibrationSet
from edgeface.common.files import atomic_path
from edgeface.common.install import missing
from edgeface.errors import SinkError
from edgeface.evaluation.labelled_crops import Progress
from edgeface.quantization.ranges import activation_ranges

_SMALLEST = 8
_BATCH = 32
_INPUT = "crops"


@dataclass(frozen=True)
class RangeError:
    """How far the ranges of the first ``size`` images are from those of all, as fractions of the latter's width.

    ``mean`` over all activations, ``worst`` of one, which is ``tensor``. An error of 0.01 is 2.5 of 255 steps.
    """

    size: int
    mean: float
    worst: float
    tensor: str


def range_errors(
    model: str | os.PathLike[str],
    calibration: CalibrationSet,
    crops: NDArray[np.uint8],
    method: str = "percentile",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> list[RangeError]:
    """The errors of the set's first 8, 16, 32, … images; ``crops`` uint8 ``[size, S, S, 3]`` are those of the set.

    ``method`` and ``cache`` as in ``activation_ranges``.
    """
    sizes = _sizes(len(crops))
    ranges = []
    for done, size in enumerate(sizes):
        digest = dataclasses.replace(calibration, files=calibration.files[:size]).digest
        feeds = [{_INPUT: crops[start : min(start + _BATCH, size)]} for start in range(0, size, _BATCH)]
        ranges.append(activation_ranges(Path(model), feeds, method, digest, cache))
        if progress:
            progress(done + 1, len(sizes))
    return [_error(size, part, ranges[-1]) for size, part in zip(sizes, ranges)]


def write_curve(errors: Sequence[RangeError], path: str | os.PathLike[str], title: str) -> None:
    """Draw the curve into an image (PNG, SVG, PDF by its suffix). Raises ``MissingDependencyError``, ``SinkError``."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter
    except ImportError as error:
        raise missing("matplotlib", "train", "drawing the curve") from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    if Path(path).suffix.lower()[1:] not in figure.canvas.get_supported_filetypes():
        raise SinkError(f"cannot draw `{path}`: expected a suffix such as .png, .svg or .pdf")
    shown = [error for error in errors if error.worst > 0]  # the last is 0 by definition, which no log scale shows
    axes = figure.add_subplot()
    axes.plot([error.size for error in shown], [error.worst for error in shown], "o-", label="worst activation")
    axes.plot([error.size for error in shown], [error.mean for error in shown], "s-", label="mean of all activations")
    axes.axhline(1 / 255, color="grey", linestyle=":", label="one 8-bit step")
    axes.set_xscale("log", base=2)
    axes.set_xticks([error.size for error in shown], [str(error.size) for error in shown])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlabel="pictures", ylabel="range error, of the full set's range", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _sizes(total: int) -> list[int]:
    """8, 16, 32, … below ``total``, then ``total``."""
    sizes = [_SMALLEST]
    while sizes[-1] * 2 < total:
        sizes.append(sizes[-1] * 2)
    return [*(size for size in sizes if size < total), total]


def _error(size: int, part: Mapping[str, tuple[float, float]], whole: Mapping[str, tuple[float, float]]) -> RangeError:
    errors = {
        tensor: (abs(part[tensor][0] - low) + abs(part[tensor][1] - high)) / (high - low)
        for tensor, (low, high) in whole.items()
        if high > low and tensor in part
    }
    worst = max(errors, key=lambda tensor: errors[tensor])
    return RangeError(size, float(np.mean(list(errors.values()))), float(errors[worst]), worst)
