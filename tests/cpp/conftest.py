"""The C++ part, built once for the tests that need it; what is missing is named with the line that installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

APT = "apt install g++ cmake nlohmann-json3-dev libopencv-dev"


@dataclass(frozen=True)
class CppBuild:
    """A built tree and the models that its backend takes."""

    folder: Path
    backend: str
    detector: Path
    attributes: Path

    @property
    def demo(self) -> Path:
        path = self.folder / "edgeface_demo"
        if not path.exists():
            pytest.skip(f"the demo needs OpenCV: {APT}")
        return path

    def answers(self, pixels: bytes, width: int, height: int, padding: int = 0) -> str:
        """The line of JSON for one frame of raw RGB rows."""
        command = [self.folder / "tests" / "edgeface_frame_answers", self.detector, self.attributes, self.backend]
        return run([*command, width, height, padding], input=pixels).stdout.decode()


def run(command: list[object], **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run ``command``; its whole output is the failure's text."""
    words = [str(part) for part in command]
    done: subprocess.CompletedProcess[bytes] = subprocess.run(words, capture_output=True, check=False, **options)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-6000:]
    return done


def configure(folder: Path, *settings: str) -> str:
    """Configure ``cpp_demo`` into ``folder`` with warnings as errors; skips where a tool or library is missing."""
    if not shutil.which("cmake") or not (shutil.which("c++") or shutil.which("g++")):
        pytest.skip(f"no C++ compiler or CMake: {APT}")
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    command = ["cmake", "-S", ROOT / "cpp_demo", "-B", folder, "-DEDGEFACE_WERROR=ON", *runtime(), *launcher, *settings]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if "is missing" in done.stderr or "no backend" in done.stderr:
        pytest.skip(f"a library is missing: {APT}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def runtime() -> list[str]:
    """ONNX Runtime for the build: the installed wheel's library, where its headers are named."""
    headers = os.environ.get("ONNXRUNTIME_INCLUDE_DIR")
    if not headers:
        return []
    import onnxruntime

    return [f"-DONNXRUNTIME_ROOT={Path(onnxruntime.__file__).parent / 'capi'}", f"-DONNXRUNTIME_INCLUDE_DIR={headers}"]


def build(folder: Path) -> None:
    run(["cmake", "--build", folder, "--parallel", len(os.sched_getaffinity(0))])


@pytest.fixture(scope="session")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> CppBuild:
    """The release build, in ``build/cpp`` as `make cpp` makes it."""
    folder = ROOT / "build" / "cpp"
    said = configure(folder)
    build(folder)
    models = ROOT / "edgeface" / "assets" / "models"
    if "backends onnxruntime" in said:
        return CppBuild(folder, "onnxruntime", models / "detector.onnx", models / "attributes.onnx")
    pytest.importorskip("onnx", reason="OpenCV needs a variant of the models, which the package onnx writes")
    from edgeface.export.opencv_variant import write_opencv_variant

    variants = tmp_path_factory.mktemp("variants")
    for name in ("detector.onnx", "attributes.onnx"):
        write_opencv_variant(models / name, variants / name)
    return CppBuild(folder, "opencv", variants / "detector.onnx", variants / "attributes.onnx")
