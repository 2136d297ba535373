from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.pipeline.run_stats import RunStats, Window


@given(st.lists(st.floats(0, 100), max_size=40), st.integers(1, 10))
def test_percentiles_are_those_of_the_latest_values(values: list[float], length: int) -> None:
    window = Window(length)
    for value in values:
        window.add(value)
    assert window.count == len(values) and window.sum_s == pytest.approx(sum(values))
    assert window.largest_s == max(values, default=0.0)
    if values:
        assert window.percentile(50) == pytest.approx(float(np.percentile(values[-length:], 50)))
    else:
        assert math.isnan(window.percentile(50))


def test_stages_that_never_ran_are_left_out() -> None:
    stats = RunStats()
    with stats.stage("detect"):
        pass
    assert list(stats.stages_ms()) == ["detect"]
    assert 0 <= stats.stages_ms()["detect"]["p50"] <= stats.stages_ms()["detect"]["p95"]
