"""Timing side by side: what is measured, what noise may not decide, and settings that cannot be followed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.bench.model_speed import (
    CANVAS,
    BenchReport,
    Interleaved,
    bench,
    block_resamples,
    interleaved_ms,
    noise_feed,
    paired_speedup,
    peak_memory_mb,
)
from edgeface.common.files import sha256_file
from edgeface.errors import ArtifactError, ConfigError
from edgeface.runtime.base import TensorInfo
from tests.fixtures import SIZE, tiny_detector, tiny_model  # noqa: F401


@pytest.fixture(scope="module")
def report(tiny_model: Path, tiny_detector: Path) -> BenchReport:  # noqa: F811
    return bench([tiny_model, tiny_detector], batches=(1, 2), threads=(1,), seconds=0.05, memory=False)


def test_a_row_for_every_artefact_and_setting(report: BenchReport, tiny_model: Path, tiny_detector: Path) -> None:  # noqa: F811
    expected = [(str(path), batch, 1) for batch in (1, 2) for path in (tiny_model, tiny_detector)]
    assert [(row.artefact, row.batch, row.threads) for row in report.rows] == expected
    assert {row.sha256 for row in report.rows} == {sha256_file(tiny_model), sha256_file(tiny_detector)}


def test_figures_of_a_row_fit_together(report: BenchReport) -> None:
    for row in report.rows:
        p50, p90, p99 = row.calls_ms
        assert 0 < p50 <= p90 <= p99
        assert row.calls >= len(row.rounds_ms) >= 5
        assert 0 < row.items_per_s < row.batch * 1e3 / row.rounds_ms.min() * 2
    lengths = {row.setting: set() for row in report.rows}
    for row in report.rows:
        lengths[row.setting].add(len(row.rounds_ms))
    assert all(len(counts) == 1 for counts in lengths.values()), "rounds are shared by all artefacts of a setting"


def test_the_first_artefact_is_the_reference(report: BenchReport) -> None:
    for row in report.rows:
        speedup = report.speedup(row)
        if row is report.reference(row):
            assert speedup == (1, 1, 1)
        assert speedup.low <= speedup.median <= speedup.high


def test_the_json_names_the_machine(report: BenchReport) -> None:
    figures = report.to_dict()
    assert figures["machine"]["cpu"]["cores"] >= 1
    assert "rounds_ms" not in figures["rows"][0]
    assert len(report.to_dict(rounds=True)["rows"][0]["rounds_ms"]) == figures["rows"][0]["rounds"]
    assert figures["rows"][0]["speedup"]["verdict"] == "no difference beyond noise"


def test_rounds_interleave_and_take_turns_in_going_first() -> None:
    log: list[str] = []
    rounds = interleaved_ms([lambda: log.append("a"), lambda: log.append("b")], seconds=0.02)
    assert len(rounds[0]) == len(rounds[1]) >= 5
    assert all(len(part) == len(rounds[0][0]) for part in rounds[0])
    timed = "".join(log)[-sum(len(part) for artefact in rounds for part in artefact) :]
    runs = [timed[0]] + [b for a, b in zip(timed, timed[1:]) if a != b]
    assert "".join(runs).startswith("abab"), "a b | b a | a b: neighbours of the same kind melt together"


def noisy(rng: np.random.Generator, level: float, rounds: int = 200) -> np.ndarray:
    return level * (1 + 0.05 * rng.standard_normal(rounds))


def test_a_real_difference_is_found_in_noise() -> None:
    rng = np.random.default_rng(1)
    speedup = paired_speedup(noisy(rng, 2.0), noisy(rng, 1.5))
    assert speedup.low < 4 / 3 < speedup.high
    assert speedup.verdict == "faster"
    assert paired_speedup(noisy(rng, 1.5), noisy(rng, 2.0)).verdict == "slower"


def test_a_busy_spell_slows_both_and_decides_nothing() -> None:
    rng = np.random.default_rng(2)
    busy = np.where(np.arange(200) > 120, 5.0, 1.0)
    reference, other = noisy(rng, 2.0) * busy, noisy(rng, 1.0) * busy
    assert paired_speedup(reference, other).median == pytest.approx(2, rel=0.02)
    assert paired_speedup(reference, noisy(rng, 2.0) * busy).verdict == "no difference beyond noise"


def test_noise_in_spells_seldom_looks_like_a_difference() -> None:
    """Neighbouring rounds share their noise; an interval that took them as independent would be too narrow."""
    wrong = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        spells = np.repeat(rng.standard_normal(40), 5) * 0.05
        wrong += paired_speedup(np.full(200, 1.0), 1 + spells).verdict != "no difference beyond noise"
    assert wrong <= 12


@given(st.integers(1, 100), st.integers(0, 5))
def test_resamples_are_made_of_the_series(length: int, seed: int) -> None:
    values = np.arange(length, dtype=np.float64)
    resamples = block_resamples(values, seed)
    assert set(np.unique(resamples)) <= set(values)
    assert length - max(length // 20, 1) < resamples.shape[1] <= length
    assert np.array_equal(resamples, block_resamples(values, seed))


def info(*shape: int | None, dtype: str = "uint8") -> TensorInfo:
    return TensorInfo("x", np.dtype(dtype), shape)


def test_noise_has_the_shape_an_artefact_wants() -> None:
    assert noise_feed([info(None, SIZE, SIZE, 3)], 4, "m")["x"].shape == (4, SIZE, SIZE, 3)
    assert noise_feed([info(None, None, None, 3)], 2, "m")["x"].shape == (2, *CANVAS, 3)
    fixed = noise_feed([info(1, 3, 240, 320, dtype="float32")], 1, "m")["x"]
    assert (fixed.shape, fixed.dtype) == ((1, 3, 240, 320), np.float32)
    with pytest.raises(ConfigError, match="^m takes batches of 1 only, found 8$"):
        noise_feed([info(1, 3, 240, 320)], 8, "m")


def test_memory_is_that_of_a_process_of_its_own(tiny_model: Path, tmp_path: Path) -> None:  # noqa: F811
    peak = peak_memory_mb(tiny_model, 1, 1)
    ballast = np.ones(400 * 2**20 // 8)  # this process grows, the other's figure stays
    again = peak_memory_mb(tiny_model, 1, 1)
    if peak is not None:
        assert again is not None
        assert 10 < peak < 400
        assert abs(again - peak) < 100
    assert ballast[0] == 1
    assert peak_memory_mb(tmp_path / "none.onnx", 1, 1) is None


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batches": (0,)}, "batch: expected 1 or more, found 0"),
        ({"batches": ()}, "batch: expected 1 or more, found nothing"),
        ({"threads": (-1,)}, r"threads: expected 0 \(all cores\) or more, found -1"),
        ({"seconds": 0.0}, "seconds: expected more than 0, found 0"),
        ({"seconds": float("nan")}, "seconds: expected more than 0, found nan"),
    ],
)
def test_settings_out_of_range(tiny_model: Path, settings: dict[str, object], sentence: str) -> None:  # noqa: F811
    with pytest.raises(ConfigError, match=f"^{sentence}$"):
        bench([tiny_model], **settings)  # type: ignore[arg-type]


def test_no_artefact_and_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no artefact to bench"):
        bench([])
    with pytest.raises(ArtifactError, match="no model at"):
        bench([tmp_path / "none.onnx"])


def test_who_goes_first_alternates() -> None:
    order: list[str] = []
    timed = Interleaved([lambda: order.append("a"), lambda: order.append("b")], 0.002)
    firsts = []
    for _ in range(4):
        order.clear()
        timed.round()
        firsts.append(order[0])
    assert firsts in (["a", "b", "a", "b"], ["b", "a", "b", "a"])
