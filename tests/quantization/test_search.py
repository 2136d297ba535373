from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import ConfigError
from edgeface.quantization.quantize import quantize
from edgeface.quantization.ranges import Ranges, activation_ranges
from edgeface.quantization.search import SearchResult, search
from edgeface.runtime.base import Feed
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import model_spec
from tests.fixtures import convolutions
from tests.quantization.conftest import Graph

pytest.importorskip("onnx", reason="the extra `quantize` is not installed")

COSTS = {"a": 0.5, "b": 4.0, "c": 1.0, "d": 0.1, "e": 0.2}


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Five convolutions that may be quantised, and the head."""
    graph = Graph().conv("pixels", "a", inputs=3, gain=0.01)
    for source, output in zip("abcde", ["b", "c", "d", "e", "head"]):
        graph.conv(source, output)
    return graph.save(tmp_path / "chain.onnx", "head")


@pytest.fixture
def ranges(chain: Path, feeds: list[Feed]) -> Ranges:
    return activation_ranges(chain, feeds, "minmax", "s")


def kept_in(path: Path) -> Collection[str]:
    precision = model_spec(path).precision
    assert precision is not None
    return precision.keep_float


def additive(path: Path) -> float:
    """Each 8-bit layer costs what ``COSTS`` says."""
    return sum(cost for layer, cost in COSTS.items() if layer not in kept_in(path))


def run(chain: Path, ranges: Ranges, budget: float, **options: int) -> SearchResult:
    return search(chain, ranges, additive, budget, "tensorrt", **options)


def test_nothing_is_kept_where_the_budget_holds(chain: Path, ranges: Ranges) -> None:
    result = run(chain, ranges, 6)
    assert (result.keep_float, result.held, result.sensitivity) == ((), True, {})
    assert result.loss == pytest.approx(5.8)


def test_a_layer_is_kept_where_eight_bits_failed_elsewhere(chain: Path, ranges: Ranges) -> None:
    result = run(chain, ranges, 6, min_layers=1)
    assert (result.keep_float, result.held) == (("b",), True), "the most sensitive one, and no more"
    assert [step.keep_float for step in result.steps] == [("b",)]
    assert run(chain, ranges, 6, min_layers=1, max_layers=0).keep_float == ()


def test_the_most_sensitive_layers_are_kept(chain: Path, ranges: Ranges) -> None:
    lines: list[str] = []
    result = search(chain, ranges, additive, 1.0, "tensorrt", report=lines.append)
    assert result.keep_float == ("b", "c")
    assert result.held
    assert result.loss == pytest.approx(0.8)
    assert list(result.sensitivity) == ["b", "c", "a", "e", "d"]
    assert result.sensitivity == pytest.approx(COSTS)
    assert [step.keep_float for step in result.steps] == [(), ("b",), ("b", "c"), ("c",)]
    assert lines[0] == "0 layers in float (none): loss 5.8, above the budget"
    assert lines[1] == "layer 1 of 5, only a in 8 bits: loss 0.5"
    assert lines[-2] == "2 layers in float (b, c): loss 0.8, within the budget"
    assert result.to_dict()["keep_float"] == ("b", "c")


def test_a_layer_that_did_not_help_is_given_up(chain: Path, ranges: Ranges) -> None:
    """Alone "b" looks worst, yet together only "c" matters."""

    def judge(path: Path) -> float:
        kept = kept_in(path)
        return additive(path) if len(kept) == 4 else float("c" not in kept)

    result = search(chain, ranges, judge, 0.5, "tensorrt")
    assert result.keep_float == ("c",)
    assert result.held


def test_a_budget_that_cannot_be_held(chain: Path, ranges: Ranges) -> None:
    result = run(chain, ranges, 0.01)
    assert not result.held
    assert result.keep_float == ("b", "c"), "half of five layers at most; the best step is returned"
    assert run(chain, ranges, 0.15, max_layers=4).keep_float == ("b", "c", "a", "e")
    assert run(chain, ranges, 0.01, max_layers=0).keep_float == ()
    with pytest.raises(ConfigError, match="max_layers: expected 0 to 4, found 5"):
        run(chain, ranges, 1, max_layers=5)


def test_the_result_is_recorded(chain: Path, ranges: Ranges, tmp_path: Path) -> None:
    result = run(chain, ranges, 1.0)
    path = quantize(chain, tmp_path / "o.onnx", "int8", "tensorrt", ranges, result.keep_float, search=result.to_dict())
    precision = model_spec(path).precision
    assert precision is not None
    assert precision.keep_float == ("b", "c")
    assert precision.search["sensitivity"] == pytest.approx(COSTS)
    assert precision.search["steps"][0] == {"keep_float": [], "loss": pytest.approx(5.8)}


def test_a_bad_range_is_found_on_the_real_network(
    attributes: Path, attribute_ranges: Ranges, crops: np.ndarray
) -> None:
    """The first layer's input clipped to a tenth: only that layer has to go back to float."""
    import dataclasses

    first = convolutions(attributes)[0]
    low, high = attribute_ranges["div"]
    spoilt = dataclasses.replace(attribute_ranges, bounds={**attribute_ranges, "div": (low / 10, high / 10)})
    with open_backend(attributes, 1) as backend:
        expected = backend.infer({"crops": crops})["age"]

    def judge(path: Path) -> float:
        with open_backend(path, 1, simulate=True) as backend:
            return float(np.abs(backend.infer({"crops": crops})["age"] - expected).mean())

    budget = evaluator_of(attributes, spoilt, judge) / 3
    assert evaluator_of(attributes, attribute_ranges, judge) < budget
    result = search(attributes, spoilt, judge, budget, "tensorrt", max_layers=3)
    assert result.held
    assert next(iter(result.sensitivity)) == first
    assert result.keep_float == (first,)


def evaluator_of(model: Path, ranges: Ranges, judge: object) -> float:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return float(judge(quantize(model, Path(folder) / "m.onnx", "int8", "tensorrt", ranges)))  # type: ignore[operator]
