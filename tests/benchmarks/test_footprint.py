"""``benchmarks.resources.footprint``: sizes of packages, starts of processes, tables, and a short run."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.resources import footprint, footprint_install
from benchmarks.resources.footprint import Start
from benchmarks.resources.footprint_install import HERE, added, sizes_of
from edgeface.errors import BackendError, ConfigError
from tests.conftest import ROOT


def test_sizes_are_those_of_the_files() -> None:
    sizes = sizes_of(HERE.executable)
    files = [Path(str(file.locate())) for file in importlib.metadata.files("rich") or ()]
    assert sizes["rich"] == sum(file.stat().st_size for file in files if file.is_file()) > 100_000
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert "pip" not in sizes


def test_an_extra_adds_what_was_not_there() -> None:
    assert added({"numpy": 5}, {"numpy": 6, "onnx": 7, "protobuf": 1}) == {"onnx": 7, "protobuf": 1}


def test_an_installation_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint_install, "ROOT", tmp_path)
    with pytest.raises(ConfigError, match="building the wheel failed: .*; --no-install leaves this out"):
        footprint_install.install(tmp_path / "venv")


def test_a_start_is_timed_to_its_first_line() -> None:
    slow_end = "import time; print('first', flush=True); time.sleep(0.5); print('last')"
    seconds, line = Start("slow end", HERE, ("-c", slow_end)).once()
    assert line == "first\n" and seconds > 0
    with pytest.raises(BackendError, match="`broken` failed with code 3: .*no such thing"):
        Start("broken", HERE, ("-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)")).once()


def results_of(**changes: Any) -> dict[str, Any]:
    memory = {"python_mb": 10.0, "imported_mb": 30.0, "opened_mb": 80.0, "rest_mb": 110.0, "peak_mb": 115.0}
    bare = {"name": "python alone", "median_s": 0.02, "min_s": 0.01, "max_s": 0.05, "memory": None}
    start = {"name": "FaceAnalyzer, first answer", "median_s": 0.52, "min_s": 0.5, "max_s": 0.7, "memory": memory}
    return {
        "install": None,
        "torch": None,
        "torch_bytes": {},
        "starts": [bare, start],
        "weights": {"detector": {"bytes": 1_000_000}, "attributes": {"bytes": 6_300_000}},
        **changes,
    }


def test_the_table_of_starts() -> None:
    rows = footprint.tables(results_of())["footprint"].splitlines()
    assert rows[2] == "| python alone | 0.02 (0.01 to 0.05) | 0.00 |  |  |  |  |"
    assert rows[3] == ("| FaceAnalyzer, first answer | 0.52 (0.50 to 0.70) | 0.50 | 30 MB | 80 MB | 110 MB | 115 MB |")


def test_the_table_of_sizes() -> None:
    core = {"onnxruntime": 60_000_000, "numpy": 39_000_000, "tiny": 500_000, "typer": 500_000}
    install = {"wheel_bytes": 7_000_000, "core": core, "extras": {"quantize": {"onnx": 30_000_000}}}
    torch = {"torch": 700_000_000, "torchvision": 50_000_000}
    written = footprint.tables(results_of(install=install, torch="2.13.0", torch_bytes=torch))["footprint_install"]
    assert written.splitlines()[2:] == [
        "| wheel | 7.0 MB |",
        "| detector.onnx, in edgeface | 1.0 MB |",
        "| attributes.onnx, in edgeface | 6.3 MB |",
        "| onnxruntime | 60.0 MB |",
        "| numpy | 39.0 MB |",
        "| all others | 1.0 MB |",
        "| **installed, core** | **100.0 MB** |",
        "| extra `quantize` adds | 30.0 MB |",
        "| torch and torchvision 2.13.0, of the extra `train` | 750.0 MB |",
    ]


def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "footprint.json"
    assert footprint.main(["--quick", "--no-install", "--save", str(saved)]) == 0
    results = json.loads(saved.read_text(encoding="utf-8"))
    assert results["quick"] is True and results["install"] is None
    by_name = {row["name"]: row for row in results["starts"]}
    assert "PyTorch eager, attributes only" not in by_name, "no network was named"
    memory = by_name["FaceAnalyzer, first answer"]["memory"]
    assert (
        0 < memory["python_mb"] < memory["imported_mb"] < memory["opened_mb"] < memory["rest_mb"] <= memory["peak_mb"]
    )
    assert all(0 < row["min_s"] <= row["median_s"] <= row["max_s"] for row in by_name.values())
    assert footprint.tables(results)["footprint"] in capsys.readouterr().out


def test_the_saved_core_is_what_pyproject_names_and_within_its_limits() -> None:
    saved = json.loads((ROOT / "benchmarks" / "results" / "footprint.json").read_text(encoding="utf-8"))
    core = saved["install"]["core"]
    (listed,) = re.findall(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text("utf-8"), re.M | re.S)
    named = set(re.findall(r'^  "([\w-]+)[^;]*?",$', listed, re.MULTILINE))
    assert len(named) >= 6 and named <= set(core) and "scipy" not in core
    assert sum(core.values()) <= 460e6
    assert {row["name"]: row["median_s"] for row in saved["starts"]}["import edgeface"] < 0.15
