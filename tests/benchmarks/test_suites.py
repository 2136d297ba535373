"""The suites of ``make bench``: a case's arithmetic, its tables, and a quick run of one suite as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.base import Contender
from benchmarks.suites.bench_tables import cell, number, tables
from benchmarks.suites.contest import contest, rows_of, self_timed_contest
from benchmarks.suites.faces import agreement
from edgeface.common.machine import fingerprint
from tests.conftest import ROOT
from tests.fixtures import tiny_spec

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed (extra `dev`)")


class Driver:
    """Stands in for pytest-benchmark's fixture, which a test may use only once."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, target: Callable[[], None], *, rounds: int, iterations: int) -> None:
        for _ in range(rounds * iterations):
            target()


def test_rows_are_multiples_of_our_time_in_the_same_rounds() -> None:
    ours = [np.array([level, level * 1.5]) for level in (1.0, 2.0, 1.0, 4.0, 1.0)]
    rows = rows_of([ours, [part * 3 for part in ours], [part / 2 for part in ours]])
    assert [row["cost"]["median"] for row in rows] == [1, 3, 0.5]
    assert [row["verdict"] for row in rows] == ["no difference beyond noise", "slower", "faster"]
    assert rows[1]["cost"]["low"] == rows[1]["cost"]["high"] == 3 and rows[1]["ms"] == 3


def test_absent_peers_keep_their_place_in_a_case() -> None:
    driver = Driver()
    contenders = [
        Contender("ours", lambda: time.sleep(1e-4), facts={"found": 1}),
        Contender("absent", None, "no model"),
        Contender("peer", lambda: time.sleep(1e-3)),
    ]
    case = contest(driver, "a case", contenders, 0.01, {"threads": 1})
    assert [row["name"] for row in case["rows"]] == ["ours", "absent", "peer"]
    assert case["rows"][1] == {"name": "absent", "absent": "no model"}
    assert case["rows"][0]["found"] == 1 and case["rounds"] >= 5
    assert driver.extra_info["case"] == "a case"


def test_a_case_without_ours_is_none() -> None:
    with pytest.raises(RuntimeError, match="a case: ours does not run \\(broken\\)"):
        contest(Driver(), "a case", [Contender("ours", None, "broken")], 0.01, {})


def test_programs_may_time_themselves() -> None:
    case = self_timed_contest(Driver(), "programs", [("ours", lambda: 4.0), ("peer", lambda: 6.0)], 1e-4, {})
    assert [row["ms"] for row in case["rows"]] == [4, 6]
    assert case["rows"][1]["cost"]["median"] == 1.5


def test_answers_agree_within_the_tolerances_of_the_spec() -> None:
    wanted = {"age": np.array([30.0, 40.0]), "gender": np.array([[0.9, 0.1], [0.4, 0.6]])}
    assert agreement(tiny_spec(), wanted, {name: values + 1e-6 for name, values in wanted.items()})["same"]
    other = {"age": np.array([[30.0], [42.0]]), "gender": wanted["gender"][:, ::-1]}
    found = agreement(tiny_spec(), wanted, other)
    assert (found["age_max_years"], found["gender_differs"], found["same"]) == (2.0, 2, False)


@pytest.mark.parametrize(
    ("value", "text"), [(1234.4, "1,234"), (43.21, "43.2"), (2.345, "2.35"), (0.123, "0.12"), (0.01234, "0.012")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def a_row(median: float, verdict: str) -> dict[str, Any]:
    cost = {"median": median, "low": 0.9 * median, "high": 1.1 * median}
    return {"name": "peer", "ms": 2.0, "cost": cost, "verdict": verdict}


def test_what_beats_us_is_bold() -> None:
    assert cell(a_row(0.5, "faster")) == "2.00 ms, **0.50×** (0.45 to 0.55)"
    assert cell(a_row(2.0, "slower")) == "2.00 ms, 2.00× (1.80 to 2.20)"
    assert cell({"name": "peer", "absent": "no model"}) == "no model"


def test_a_suite_becomes_a_table_with_its_machine() -> None:
    ours = {**a_row(1, "no difference beyond noise"), "name": "ours", "cost": {"median": 1, "low": 1, "high": 1}}
    answers = {"faces": 9, "age_max_years": 0.25, "gender_differs": 1, "race_differs": 2, "same": False}
    rows = [{**ours, "answers": {**answers, "same": True}}, {**a_row(2, "slower"), "answers": answers}]
    absent = {"name": "peer", "absent": "one face at a time"}
    cases = [
        {"case": "batch 1", "settings": {"faces": "9 portraits"}, "rounds": 5, "rows": rows},
        {"case": "batch 8", "settings": {}, "rounds": 7, "rows": [ours, absent]},
    ]
    results = {"suite": "runtimes", "cases": cases, "packages": {"openvino": "1.2"}, "machine": fingerprint()}
    lines = tables(results)["bench_runtimes"].splitlines()
    assert lines[0] == "| runtime | batch 1 | batch 8 | answers |"
    assert lines[2] == "| ours | 2.00 ms | 2.00 ms | same |"
    assert lines[3] == (
        "| peer | 2.00 ms, 2.00× (1.80 to 2.20) | one face at a time | "
        "age by up to 0.25 y, gender of 1, race of 2 of 9 faces |"
    )
    assert "5 to 7 rounds" in lines[5] and "compared on 9 portraits" in lines[5] and "openvino 1.2" in lines[5]


def test_a_quick_run_writes_a_suite_and_pytest_benchmarks_record(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "benchmarks/suites/test_preprocess.py", "-q", "-p", "no:cacheprovider"]
    command += ["--quick", f"--results={tmp_path}", f"--faces={tmp_path}/none", f"--benchmark-json={tmp_path}/raw.json"]
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    env = {**own, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "bench_preprocess.json").read_text(encoding="utf-8"))
    assert found["quick"] is True and len(found["cases"]) == 3
    assert all(case["rows"][0]["cost"]["median"] == 1 for case in found["cases"])
    raw = json.loads((tmp_path / "raw.json").read_text(encoding="utf-8"))["benchmarks"]
    assert [item["extra_info"]["case"] for item in raw] == [case["case"] for case in found["cases"]]
    assert all(item["stats"]["rounds"] == item["extra_info"]["rounds"] - 1 for item in raw)
    assert tables(found)["bench_preprocess"] in done.stdout
