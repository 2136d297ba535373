"""TensorRT's calls against its real API: mypy over our files with the type stubs of four releases.

The stubs come from ``../shared/trt_api/make_stubs.py``, once, into the cache; they need CPython 3.11, gcc and pip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeface.common.files import cache_dir
from tests.conftest import ROOT

RELEASES = ("8.6.1", "10.3.0", "10.13.3.9", "11.4.0.106")
FILES = ("edgeface/runtime/trt.py", "edgeface/runtime/trt_device.py", "edgeface/runtime/trt_builder.py")
PROBES = (
    ("trt.NetworkDefinitionCreationFlag", "EXPLICIT_BATCH", "11.4.0.106"),
    ("trt.NetworkDefinitionCreationFlag", "STRONGLY_TYPED", "8.6.1"),
    ("trt.BuilderFlag", "INT8", "11.4.0.106"),
    ("trt.BuilderFlag", "FP16", "11.4.0.106"),
    ("trt.BuilderFlag", "OBEY_PRECISION_CONSTRAINTS", "11.4.0.106"),
    ("layer", "precision", "11.4.0.106"),
    ("error", "node_name", "8.6.1"),
    ("trt", "IProgressMonitor", "8.6.1"),
    ("config", "progress_monitor", "8.6.1"),
)
"""What is asked for, of what, and a release that lacks it."""


def python311() -> str:
    found = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    return found or pytest.skip("making TensorRT's stubs needs CPython 3.11")


def run(*command: str) -> None:
    """Run a step of making the stubs, skipping with its reason where this machine cannot."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        pytest.skip(f"no stubs of TensorRT: {(done.stderr or done.stdout).strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def stubs(shared: Path) -> Path:
    """A folder with one folder of stubs for each release."""
    maker = shared / "trt_api" / "make_stubs.py"
    if not maker.is_file():
        pytest.skip("../shared/trt_api/make_stubs.py is absent")
    pytest.importorskip("mypy", reason="the extra `dev` is not installed")
    place = cache_dir() / "trt-stubs"
    missing = [release for release in RELEASES if not (place / release / "tensorrt" / "__init__.pyi").is_file()]
    if missing:
        if shutil.which("gcc") is None:
            pytest.skip("making TensorRT's stubs needs gcc")
        tools = place / "venv"
        run(python311(), "-m", "venv", str(tools))
        run(str(tools / "bin" / "python"), "-m", "pip", "install", "-q", "pybind11-stubgen")
        run(str(tools / "bin" / "python"), str(maker), str(place), *missing)
    return place


def complaints(stubs: Path, release: str, *files: Path) -> list[str]:
    """mypy's errors about ``files`` with the TensorRT of ``release``."""
    options = ("--strict", "--config-file=", "--follow-imports=silent", "--ignore-missing-imports")
    cache = stubs / "mypy" / release
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, f"--cache-dir={cache}", *map(str, files)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": os.pathsep.join([str(stubs / release), str(ROOT)])},
        timeout=600,
    )
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.splitlines() if ": error: " in line]


@pytest.mark.shared
@pytest.mark.parametrize("release", RELEASES)
def test_every_call_exists_in(stubs: Path, release: str) -> None:
    assert complaints(stubs, release, *(Path(name) for name in FILES)) == []


@pytest.mark.shared
@pytest.mark.parametrize(("owner", "name", "release"), PROBES, ids=[name for _, name, _ in PROBES])
def test_no_probe_can_be_left_out(stubs: Path, tmp_path: Path, owner: str, name: str, release: str) -> None:
    source = (ROOT / "edgeface/runtime/trt_builder.py").read_text(encoding="utf-8")
    bold = re.sub(rf'hasattr\({re.escape(owner)}, "{name}"\)', "True", source)
    assert bold != source
    path = tmp_path / "bold.py"
    path.write_text(bold, encoding="utf-8")
    assert any(name in line for line in complaints(stubs, release, path))


def test_every_probe_is_listed() -> None:
    found = {
        probe
        for name in FILES
        for probe in re.findall(r'hasattr\(([\w.]+), "(\w+)"\)', (ROOT / name).read_text("utf-8"))
    }
    assert found == {(owner, name) for owner, name, _ in PROBES}
