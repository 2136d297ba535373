"""Fixtures and skip rules shared by all tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

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
