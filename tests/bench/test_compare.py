"""A bench against a saved one: what the machine did in between is no verdict, and another machine gets none."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.bench.compare import Change, compare_bench, read_bench
from edgeface.bench.model_speed import BenchReport, BenchRow
from edgeface.errors import ConfigError

MACHINE: dict[str, Any] = {
    "cpu": {"name": "A", "architecture": "x86_64", "features": ["avx2"], "usable_cores": 2},
    "gpu": None,
    "jetson": None,
    "onnxruntime": "1.32.0",
}


def row(name: str, level_ms: float, seed: int, sha256: str = "") -> BenchRow:
    rounds = level_ms * (1 + 0.02 * np.random.default_rng(seed).standard_normal(100))
    p50 = float(np.median(rounds))
    return BenchRow(name, sha256 or name, "CPU", 8, 1, 1000, (p50, p50 * 1.1, p50 * 1.2), rounds, 8e3 / p50, 50.0)


def run(reference_ms: float, other_ms: float, seed: int) -> BenchReport:
    return BenchReport((row("a/ref.onnx", reference_ms, seed), row("b/int8.onnx", other_ms, seed + 1)), MACHINE)


def changes(old: BenchReport, new: BenchReport) -> dict[str, Change]:
    return {change.artefact: change for change in compare_bench(old, new).changes}


def test_a_slower_hour_is_no_slower_artefact() -> None:
    """All takes 1.5 times as long today: the reference shows it, the candidate is judged against the reference."""
    found = changes(run(10, 5, 1), run(15, 7.5, 3))
    assert found["ref.onnx"].verdict == "slower"
    assert found["ref.onnx"].yardstick is None
    assert found["int8.onnx"].verdict == "no difference beyond noise"
    assert found["int8.onnx"].yardstick == "ref.onnx"


@pytest.mark.parametrize(("now_ms", "verdict"), [(4, "faster"), (6, "slower"), (5, "no difference beyond noise")])
def test_a_change_of_the_candidate_is_seen(now_ms: float, verdict: str) -> None:
    found = changes(run(10, 5, 1), run(10, now_ms, 3))["int8.onnx"]
    assert found.verdict == verdict
    assert found.speedup.low < 5 / now_ms < found.speedup.high


def test_times_alone_need_more_than_the_usual_drift() -> None:
    old, new = BenchReport((row("m.onnx", 10, 1),), MACHINE), BenchReport((row("m.onnx", 10.3, 2),), MACHINE)
    assert changes(old, new)["m.onnx"].verdict == "no difference beyond noise"
    assert changes(old, BenchReport((row("m.onnx", 12, 2),), MACHINE))["m.onnx"].verdict == "slower"


def test_another_reference_is_no_yardstick() -> None:
    new = run(10, 5, 3)
    changed = dataclasses.replace(new.rows[0], sha256="another")
    assert changes(run(10, 5, 1), BenchReport((changed, new.rows[1]), MACHINE))["int8.onnx"].yardstick is None


def test_another_machine_gets_no_verdict_and_is_named() -> None:
    elsewhere = copy.deepcopy(MACHINE)
    elsewhere["cpu"] |= {"name": "B", "usable_cores": 8}
    result = compare_bench(run(10, 5, 1), BenchReport(run(2, 1, 3).rows, elsewhere))
    assert result.differences == ("cpu name: A then, B now", "cpu usable cores: 2 then, 8 now")
    assert {change.verdict for change in result.changes} == {"not comparable"}


def test_other_software_is_what_one_compares() -> None:
    newer = BenchReport(run(10, 5, 3).rows, {**MACHINE, "onnxruntime": "9.0"})
    assert compare_bench(run(10, 5, 1), newer).differences == ()


def test_rows_of_one_run_only_are_named() -> None:
    new = run(10, 5, 3)
    extra = dataclasses.replace(new.rows[1], batch=32)
    reference = dataclasses.replace(new.rows[0], batch=32)
    result = compare_bench(run(10, 5, 1), BenchReport((*new.rows, reference, extra), MACHINE))
    assert result.unmatched == ("ref.onnx, batch 32, threads 1", "int8.onnx, batch 32, threads 1")
    assert len(result.changes) == 2


def test_a_saved_report_reads_back(tmp_path: Path) -> None:
    path, report = tmp_path / "old.json", run(10, 5, 1)
    path.write_text(json.dumps(report.to_dict(rounds=True)))
    back = read_bench(path)
    assert [row.setting for row in back.rows] == [row.setting for row in report.rows]
    assert back.machine == MACHINE
    assert back.speedup(back.rows[1]) == pytest.approx(report.speedup(report.rows[1]), rel=1e-3)
    assert [change.speedup.median for change in compare_bench(back, report).changes] == pytest.approx([1, 1], abs=1e-4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no json", "is not JSON, expected a file of: edgeface bench --save"),
        ("[]", "is not a saved bench, expected a file of: edgeface bench --save"),
        ('{"rows": [{"artefact": "x"}], "machine": {}}', "is not a saved bench"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_bench(tmp_path / "old.json")


def test_figures_without_rounds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps(run(10, 5, 1).to_dict()))
    with pytest.raises(ConfigError, match="is not a saved bench"):
        read_bench(tmp_path / "old.json")
    with pytest.raises(ConfigError, match="cannot read the saved bench `.*none.json`: No such file"):
        read_bench(tmp_path / "none.json")
