"""Fixtures and skip rules shared by all tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_HAS_HYPOTHESIS = importlib.util.find_spec("hypothesis") is not None
if _HAS_HYPOTHESIS:
    import hypothesis

    # The same examples every time, and no clock: a busy machine is no failure.
    hypothesis.settings.register_profile("edgeface", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("edgeface")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

_HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not _HAS_TORCH, reason="torch is not installed (extra `train`)")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the data folder ../shared is absent")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m gpu`` only ``tests/gpu`` is read: a GPU machine need not have what other tests import."""
    gpu = Path(__file__).parent / "gpu"
    alone = config.option.markexpr == "gpu" and collection_path.name.startswith("test_")
    return True if alone and gpu not in collection_path.parents else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data folder beside the repository; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the data folder ../shared is absent")
    return SHARED


@pytest.fixture
def patterns_as_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets tests calibrate on patterns made on the spot, in which no detector finds a face."""
    monkeypatch.setattr("edgeface.calibration.crops._FACES_FRAC", 0.0)


@pytest.fixture
def absent_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names OpenVINO, which is not there: whatever heeds the environment fails."""
    monkeypatch.setenv("EDGEFACE_RUNTIME", "openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)


_REQUIRED = {"shared": "../shared is absent", "torch": "torch is not installed"}
"""What ``EDGEFACE_REQUIRE`` may name, separated by commas, and a part of the reason of a skip for want of it."""


def forbidden_skip(reason: str, required: str) -> str | None:
    """The name in ``required`` for want of which a test skipped with ``reason``; ``None`` where it may skip."""
    names = [name.strip() for name in required.split(",") if name.strip()]
    return next((name for name in names if _REQUIRED[name] in reason), None)


def _failed_if_forbidden(report: Any) -> Any:
    """A skip for want of what ``EDGEFACE_REQUIRE`` names is a failure: CI must not lose tests in silence."""
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        missing = forbidden_skip(str(report.longrepr[2]), os.environ.get("EDGEFACE_REQUIRE", ""))
        if missing:
            report.outcome = "failed"
            report.longrepr = f"skipped ({report.longrepr[2]}), but EDGEFACE_REQUIRE names `{missing}`"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _failed_if_forbidden((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """Whole files skip where they are read (``pytest.importorskip``)."""
    return _failed_if_forbidden((yield))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was skipped and why, one line a reason: what a machine lacks is seen at a glance."""
    reasons = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", ())
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        terminalreporter.section("skipped, by reason")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count:4} {reason}")
