"""The kernels compiled for this GPU by nvcc, once: kept by the sources' hash and the GPU's architecture."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from edgeface.common.files import atomic_path, cache_dir
from edgeface.cuda.structs import FOLDER, SOURCE, digest
from edgeface.errors import BackendError, MissingDependencyError

# Without fused multiply-add every product is rounded as on the CPU, so that faces are decoded to the same bit.
FLAGS = ("-std=c++17", "-O3", "-fmad=false")
_TIMEOUT_S = 600


class Resources(NamedTuple):
    """What a kernel takes of the GPU: registers a thread, and bytes of stack and spilled registers a thread."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


def find_nvcc() -> str:
    """The CUDA compiler: in ``$CUDA_HOME/bin``, on the path, or where CUDA installs itself.

    Raises ``MissingDependencyError`` that says where to get it.
    """
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    places = [str(Path(home) / "bin")] if home else []
    found = shutil.which("nvcc", path=os.pathsep.join([*places, os.environ.get("PATH", ""), "/usr/local/cuda/bin"]))
    if found is None:
        raise MissingDependencyError(
            "the first run on a GPU compiles a few kernels with `nvcc`, which is not installed: install the CUDA "
            "toolkit (Debian, Ubuntu: apt install nvidia-cuda-toolkit; JetPack: apt install cuda-toolkit), or copy "
            f"`{cache_dir() / 'kernels'}` from such a machine"
        )
    return found


def compiled(capability: int) -> bytes:
    """The kernels for GPUs of ``capability`` (87 for 8.7) as a loadable module, compiled at the first call.

    Raises ``MissingDependencyError`` without nvcc, ``BackendError`` where it refuses the architecture.
    """
    path = cached(capability)
    if not path.is_file():
        with atomic_path(path) as made:
            run_nvcc(["-cubin", f"-arch=sm_{capability}"], made)
    return path.read_bytes()


def cached(capability: int) -> Path:
    """Where the compiled kernels are kept."""
    return cache_dir() / "kernels" / f"{digest()[:16]}-sm_{capability}.cubin"


def resources(capability: int, out: Path) -> dict[str, Resources]:
    """Compile for ``capability`` into ``out`` and read what each kernel takes."""
    report = run_nvcc(["-cubin", f"-arch=sm_{capability}", "-Xptxas", "-v"], out)
    return read_report(report)


def read_report(report: str) -> dict[str, Resources]:
    """What ``ptxas -v`` says of each kernel."""
    found = {}
    for part in report.split("Compiling entry function '")[1:]:
        name = part.split("'")[0]
        frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        registers = re.search(r"Used (\d+) registers", part)
        if frame is None or registers is None:
            raise BackendError(f"ptxas says nothing of what kernel `{name}` takes")
        found[name] = Resources(int(registers[1]), *(int(number) for number in frame.groups()))
    return found


def run_nvcc(options: list[str], out: Path) -> str:
    """Compile the kernels into ``out`` and return what nvcc says. Raises ``BackendError`` with its first error."""
    command = [find_nvcc(), *FLAGS, *options, f"-I{FOLDER}", str(SOURCE), "-o", str(out)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"nvcc did not compile the kernels: {error}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        reason = next((line for line in lines if "error" in line or "fatal" in line), (lines or ["no reason"])[-1])
        raise BackendError(f"nvcc did not compile the kernels ({reason.strip()}): use the CUDA that fits this GPU")
    return done.stdout + done.stderr
