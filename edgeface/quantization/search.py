"""When 8 bits cost too much: find the fewest layers that have to stay in float, and what each of them costs.

First every layer is quantised alone, which orders them by sensitivity (as in HAWQ, Dong et al., 2019, but measured on
the task instead of estimated from curvature). Then the most sensitive ones go back to float, one after the other, until
the loss is within the budget; at last every layer kept on the way is given up again if the budget holds without it.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeface.errors import ConfigError
from edgeface.quantization.canonicalise import prepare
from edgeface.quantization.graph import GraphIndex, read_float_model
from edgeface.quantization.placement import quantisable_layers
from edgeface.quantization.quantize import quantize
from edgeface.quantization.ranges import Ranges

Judge = Callable[[Path], float]
"""The loss of a quantised file, in whatever unit the budget has; less is better."""


@dataclass(frozen=True)
class Step:
    """One file that was judged: the layers kept in float, and the loss."""

    keep_float: tuple[str, ...]
    loss: float


@dataclass(frozen=True)
class SearchResult:
    """``keep_float`` gives ``loss``, which is within ``budget`` if ``held``.

    ``sensitivity``: layer → loss when only this layer is 8-bit, the most sensitive first. ``steps``: what was tried
    after that, from all layers in 8 bits on (or from ``min_layers`` in float).
    """

    keep_float: tuple[str, ...]
    loss: float
    budget: float
    held: bool
    sensitivity: dict[str, float]
    steps: tuple[Step, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, and for the spec's ``search``."""
        return dataclasses.asdict(self)


def search(
    model: str | os.PathLike[str],
    ranges: Ranges,
    judge: Judge,
    budget: float,
    target: str = "auto",
    max_layers: int | None = None,
    report: Callable[[str], None] | None = None,
    min_layers: int = 0,
) -> SearchResult:
    """Layers of the float ``model`` to keep in float so that ``judge`` ≤ ``budget``, as few as the order allows.

    ``judge`` gets a file that is deleted afterwards. ``min_layers`` is 1 where all layers in 8 bits are known to lose
    too much, on other images than ``judge`` sees. ``max_layers`` ends the search (default: half of the layers; with
    fewer in 8 bits there is nothing left to gain), and then the best step is returned with ``held`` false. ``report``
    is called with a line for each file judged. Raises ``ConfigError`` where ``max_layers`` is out of range.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _Search(Path(model), ranges, judge, budget, target, report, Path(folder)).run(max_layers, min_layers)


@dataclass
class _Search:
    model: Path
    ranges: Ranges
    judge: Judge
    budget: float
    target: str
    report: Callable[[str], None] | None
    folder: Path

    def __post_init__(self) -> None:
        graph = read_float_model(self.model)
        prepare(graph)
        self.layers = quantisable_layers(GraphIndex(graph))
        self.steps: list[Step] = []

    def run(self, max_layers: int | None, min_layers: int) -> SearchResult:
        limit = len(self.layers) // 2 if max_layers is None else max_layers
        if not 0 <= limit < max(len(self.layers), 1):
            raise ConfigError(f"max_layers: expected 0 to {len(self.layers) - 1}, found {limit}")
        least = min(min_layers, limit)
        sensitivity: dict[str, float] = {}
        kept: tuple[str, ...] = ()
        if (least or not self._holds(kept)) and limit:
            sensitivity = self._sensitivity()
            for layer in list(sensitivity)[:limit]:
                kept = (*kept, layer)
                if len(kept) >= least and self._holds(kept):
                    self._prune(kept, least)
                    break
        holding = [step for step in self.steps if step.loss <= self.budget]
        best = min(holding or self.steps, key=lambda step: (len(step.keep_float), step.loss) if holding else step.loss)
        return SearchResult(best.keep_float, best.loss, self.budget, bool(holding), sensitivity, tuple(self.steps))

    def _sensitivity(self) -> dict[str, float]:
        losses = {}
        for number, layer in enumerate(self.layers, 1):
            losses[layer] = self._loss([other for other in self.layers if other != layer])
            self._say(f"layer {number} of {len(self.layers)}, only {layer} in 8 bits: loss {losses[layer]:.4g}")
        return dict(sorted(losses.items(), key=lambda item: item[1], reverse=True))

    def _prune(self, kept: tuple[str, ...], least: int) -> None:
        """Give up each layer that was kept before the last one helped, if the budget holds without it."""
        for layer in kept[:-1]:
            fewer = tuple(other for other in kept if other != layer)
            if len(fewer) >= least and self._holds(fewer):
                kept = fewer

    def _holds(self, kept: tuple[str, ...]) -> bool:
        loss = self._loss(kept)
        self.steps.append(Step(kept, loss))
        verdict = "within" if loss <= self.budget else "above"
        self._say(f"{len(kept)} layers in float ({', '.join(kept) or 'none'}): loss {loss:.4g}, {verdict} the budget")
        return loss <= self.budget

    def _loss(self, kept: Collection[str]) -> float:
        path = quantize(self.model, self.folder / "candidate.onnx", "int8", self.target, self.ranges, kept)
        loss = float(self.judge(path))
        path.unlink()
        return loss

    def _say(self, line: str) -> None:
        if self.report is not None:
            self.report(line)
