"""Options and fixtures of the suites: how long to measure, where results go, models, faces."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks.suites.bench_tables import tables
from benchmarks.suites.faces import LabelledPicture, RealFaces, labelled_pictures, real_faces
from benchmarks.suites.models import Artefacts, artefacts
from benchmarks.suites.results import Suite

ROOT = Path(__file__).resolve().parents[2]
_SECONDS, _QUICK_SECONDS = 3.0, 0.02
_SHOWN = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("edgeface")
    group.addoption(
        "--quick", action="store_true", help="see that everything runs; figures go to build/, not to results"
    )
    group.addoption("--results", type=Path, help="folder for the results files (default: benchmarks/results)")
    group.addoption(
        "--faces", type=Path, default=ROOT.parent / "shared" / "data" / "utkface", help="UTKFace, if at hand"
    )


@pytest.fixture(scope="session")
def quick(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--quick"))


@pytest.fixture(scope="module")
def suite(request: pytest.FixtureRequest, quick: bool) -> Iterator[Suite]:
    """The module's cases, shown as a table at its end; they become a results file if all of them ran."""
    cases = Suite(request.module.__name__.rpartition("test_")[2], _QUICK_SECONDS if quick else _SECONDS, quick)
    failed_before = request.session.testsfailed
    yield cases
    shown = request.config.stash.setdefault(_SHOWN, [])
    if cases.cases:
        shown += tables(cases.to_dict()).values()
    if request.session.testsfailed == failed_before and not request.config.getoption("-k"):
        default = ROOT / ("build/bench-quick" if quick else "benchmarks/results")
        shown.append(f"wrote {cases.save(request.config.getoption('--results') or default)}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The tables, below pytest-benchmark's own."""
    for text in config.stash.get(_SHOWN, []):
        terminalreporter.write_line(f"\n{text}")


@pytest.fixture(autouse=True)
def _opencv_threads() -> Iterator[None]:
    """OpenCV's thread count is the process's: what a case sets must not reach the next one."""
    yield
    cv2.setNumThreads(-1)


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    """A folder for models that are exported, quantised or converted on the way: half a gigabyte, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="edgeface-bench-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def faces(request: pytest.FixtureRequest, quick: bool) -> RealFaces:
    return real_faces(request.config.getoption("--faces"), 8 if quick else 64)


@pytest.fixture(scope="session")
def labelled(request: pytest.FixtureRequest, quick: bool) -> list[LabelledPicture]:
    return labelled_pictures(request.config.getoption("--faces"), 10 if quick else 300)


@pytest.fixture(scope="session")
def models(request: pytest.FixtureRequest, work: Path, quick: bool) -> Artefacts:
    return artefacts(work, None if quick else request.config.getoption("--faces"))
