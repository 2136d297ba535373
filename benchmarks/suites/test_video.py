"""The pipeline on a clip: with and without fusion, against its bare parts and the C++ demo."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.peers.base import Contender
from benchmarks.studies.cpp_frames import frames_per_second
from benchmarks.studies.pipeline_efficiency import parts, pipeline
from benchmarks.suites.contest import BenchmarkFixture, contest, self_timed_contest
from benchmarks.suites.results import Suite
from edgeface.api import FaceAnalyzer
from edgeface.pipeline.demo_clip import make_demo_clip

CPP_DEMO = Path(__file__).resolve().parents[2] / "build" / "cpp" / "edgeface_demo"
THREADS = 1


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, quick: bool) -> Path:
    path = tmp_path_factory.mktemp("clip") / "demo.mp4"
    make_demo_clip(path, seconds=0.4 if quick else 4.0)
    return path


@pytest.fixture
def analyzer() -> Iterator[FaceAnalyzer]:
    with FaceAnalyzer(threads=THREADS) as opened:
        yield opened


def test_pipeline(
    benchmark: BenchmarkFixture, suite: Suite, clip: Path, analyzer: FaceAnalyzer, tmp_path: Path
) -> None:
    out, frames = tmp_path / "out.jsonl", sys.maxsize
    ways: dict[str, Callable[[], None]] = {
        "edgeface run --per-frame": lambda: pipeline(clip, analyzer, out, frames, fused=False),
        "edgeface run": lambda: pipeline(clip, analyzer, out, frames, fused=True),
        "the same parts in a plain loop": lambda: parts(clip, analyzer, out, frames),
    }
    rows = []
    for name, way in ways.items():
        way()
        rows.append(Contender(name, way, facts={"frames": len(out.read_text(encoding="utf-8").splitlines())}))
    settings = {"threads": THREADS, "frames": rows[0].facts["frames"]}
    suite.cases.append(contest(benchmark, "the sample clip, one inference thread", rows, suite.seconds, settings))


def test_cpp_demo(benchmark: BenchmarkFixture, suite: Suite, clip: Path, tmp_path: Path) -> None:
    title, settings = "the same clip, Python and C++", {"threads": THREADS}
    python = [sys.executable, "-m", "edgeface.cli.main", "run", str(clip), "--per-frame", "--threads", str(THREADS)]
    cpp = [str(CPP_DEMO), str(clip), "--backend", "onnxruntime", "--threads", str(THREADS)]
    commands = {
        "edgeface run --per-frame": [*python, "--sink", str(tmp_path / "python.jsonl")],
        "the C++ demo": [*cpp, "--jsonl", str(tmp_path / "cpp.jsonl")],
    }

    def frame_ms(command: list[str]) -> Callable[[], float]:
        return lambda: 1e3 / frames_per_second(command)

    rows = [(name, frame_ms(command)) for name, command in commands.items()]
    if not CPP_DEMO.is_file():
        reason = "not built, or built without ONNX Runtime: make cpp CPP_FLAGS=-DONNXRUNTIME_ROOT=…"
        absent = {"name": rows[1][0], "absent": reason}
        case = self_timed_contest(benchmark, title, rows[:1], suite.seconds, settings)
        suite.cases.append({**case, "rows": [*case["rows"], absent]})
        return
    suite.cases.append(self_timed_contest(benchmark, title, rows, suite.seconds, settings))
