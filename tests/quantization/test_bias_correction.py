from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.quantization.bias_correction import mean_shift
from edgeface.quantization.quantize import quantize
from edgeface.quantization.ranges import Ranges, activation_ranges
from edgeface.runtime.base import Feed
from edgeface.runtime.open import open_backend
from tests.quantization.conftest import Graph

pytest.importorskip("onnx", reason="the extra `quantize` is not installed")


def test_means_are_those_of_each_channel(residual: Path, feeds: list[Feed]) -> None:
    ranges = activation_ranges(residual, feeds, "minmax", "s")
    assert set(ranges.means) == {"pixels", "skip1", "skip2"}, "the head stays in float"
    pixels = np.concatenate([feed["image"] for feed in feeds])
    assert ranges.means["pixels"] == pytest.approx(pixels.mean(axis=(0, 1, 2)), rel=1e-5)
    uneven = [feeds[0], {"image": feeds[1]["image"][:1]}]
    pixels = np.concatenate([feed["image"] for feed in uneven])
    found = activation_ranges(residual, uneven, "minmax", "s").means["pixels"]
    assert found == pytest.approx(pixels.mean(axis=(0, 1, 2)), rel=1e-5)


@given(st.sampled_from([(1, 4, 6), (2, 4, 6), (4, 4, 4)]), st.integers(0, 1000))
def test_the_shift_is_that_of_a_convolution(sizes: tuple[int, int, int], seed: int) -> None:
    """An image that is constant in each channel: the error of the weights moves every output by the same."""
    groups, inputs, outputs = sizes
    random = np.random.default_rng(seed)
    error = random.normal(size=(outputs, inputs // groups, 3, 3)).astype(np.float32)
    means = random.normal(size=inputs)
    share = outputs // groups
    expected = [
        sum(error[k, c].sum() * means[(k // share) * (inputs // groups) + c] for c in range(inputs // groups))
        for k in range(outputs)
    ]
    np.testing.assert_allclose(mean_shift(error, list(means), groups), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", ["tensorrt", "cpu-x86"])
def test_corrected_biases_keep_the_mean(target: str, tmp_path: Path) -> None:
    """A pointwise layer whose weights all round upwards: without correction every output is too large."""
    graph = Graph()
    weight = np.full((4, 3, 1, 1), 0.4 / 127, np.float32)
    weight[:, 0] = 1.0
    graph.node("Conv", ["pixels", graph.constant("weight", weight)], "first")
    source = graph.conv("first", "head").save(tmp_path / "m.onnx", "head")
    random = np.random.default_rng(0)
    feeds: list[Feed] = [{"image": random.integers(100, 256, (4, 16, 16, 3), dtype=np.uint8)}]
    ranges = activation_ranges(source, feeds, "minmax", "s")

    def shift(used: Ranges) -> float:
        path = quantize(source, tmp_path / "int8.onnx", "int8", target, used)
        with open_backend(source, 1) as before, open_backend(path, 1, simulate=True) as after:
            difference = after.infer(feeds[0])["head"] - before.infer(feeds[0])["head"]
        return float(np.abs(difference.mean(axis=(0, 2, 3))).max())

    assert shift(ranges) < 0.3 * shift(dataclasses.replace(ranges, means={}))
