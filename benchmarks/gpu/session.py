"""Everything that is worth knowing of a GPU, in one go, most telling things first, for a machine lent for minutes.

    python -m benchmarks.gpu.session --prepare            (anywhere with nvcc: kernels for GPU machines without it)
    python -m benchmarks.gpu.session [--minutes 28]       (on the GPU machine)

Every step is a process of its own with a time limit and writes ``GPU-STEP.json`` as soon as it knows something;
``GPU-session.json`` says what each step did. A session that was broken off goes on where it was: steps that are done
are left out (``--again`` runs them again). Needs no more packages than ``tests/gpu``; engines and compiled kernels are
kept in ``build/gpu-session``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.engines import RESULTS, result_path
from edgeface.common.files import atomic_path
from edgeface.cuda import compile as kernels
from edgeface.cuda.pycuda_context import find_gpu
from edgeface.errors import EdgefaceError

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "gpu-session"
ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 120)
_TAIL = 4000
_GRACE_S = 5.0


@dataclass(frozen=True)
class Step:
    """A command with its time limit; ``{out}`` in it is the file that it writes."""

    name: str
    limit_s: float
    command: tuple[str, ...]


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def steps(data: Sequence[Path], int8: Path | None) -> tuple[Step, ...]:
    """All steps, in order. ``data`` is UTKFace, to judge the engines with; ``int8`` the attribute network's graph."""
    judged = [word for path in data for word in ("--data", str(path))]
    quantised = ["--int8", str(int8)] if int8 else []
    ours = "benchmarks.gpu.session_steps"
    return (
        Step("kernels", 180, _python(ours, "kernels", "--save", "{out}")),
        Step("built", 420, _python(ours, "built", "--save", "{out}", *quantised)),
        Step("tests", 480, _python(ours, "tests", "--save", "{out}")),
        Step("pipeline", 420, _python(ours, "pipeline", "--save", "{out}")),
        Step("memory", 240, _python(ours, "memory", "--save", "{out}")),
        Step("streams", 120, _python(ours, "streams", "--save", "{out}")),
        Step("engines", 600, _python("benchmarks.gpu.engines", "--save", "{out}", *quantised, *judged)),
    )


class Session:
    """Runs steps in turn and keeps ``GPU-session.json`` up to date."""

    def __init__(self, gpu: str, out: Path, minutes: float) -> None:
        self._gpu, self._out = gpu, out
        self._path = result_path(gpu, "session", out)
        self._end_s = time.monotonic() + 60 * minutes
        self.done: dict[str, Any] = self._read()

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8"))["steps"])
        except (OSError, ValueError, KeyError):
            return {}

    def run(self, step: Step) -> dict[str, Any]:
        """Run one step as far as time allows and write down what became of it."""
        left_s = self._end_s - time.monotonic()
        if left_s < 1:
            return self._note(step, {"result": "not started: no time left"})
        out = result_path(self._gpu, step.name, self._out)
        command = [word.replace("{out}", str(out)) for word in step.command]
        limit_s = min(step.limit_s, left_s)
        print(f"{step.name}: at most {limit_s:.0f} s", file=sys.stderr, flush=True)
        started_s = time.monotonic()
        code, said = _limited(command, limit_s)
        taken = {"seconds": round(time.monotonic() - started_s, 1), "file": out.name if out.is_file() else None}
        result = "done" if code == 0 else f"broke off after {limit_s:.0f} s" if code is None else f"failed ({code})"
        return self._note(step, {"result": result, **taken, "said": said[-_TAIL:] if code != 0 else ""})

    def _note(self, step: Step, what: dict[str, Any]) -> dict[str, Any]:
        self.done[step.name] = what
        write({"gpu": self._gpu, "steps": self.done}, self._path)
        print(f"{step.name}: {what['result']}", file=sys.stderr, flush=True)
        return what


def write(content: dict[str, Any], path: Path) -> None:
    """Put ``content`` in place as a whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _limited(command: Sequence[str], limit_s: float) -> tuple[int | None, str]:
    """Exit code (``None``: cut off) and what a command said, all of its processes ended in time."""
    environment = {**os.environ, "EDGEFACE_CACHE": str(WORK / "cache"), "CUDA_MODULE_LOADING": "LAZY"}
    log = WORK / "said.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
            _end(process)
        except BaseException:
            _end(process)
            raise
    return code, log.read_text(encoding="utf-8", errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step with everything that it started."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_number)
            process.wait(_GRACE_S)
        except (subprocess.TimeoutExpired, ProcessLookupError):
            continue
        return


def prepare() -> None:
    """Compile the kernels for all GPUs that nvcc knows into the session's cache."""
    os.environ["EDGEFACE_CACHE"] = str(WORK / "cache")
    for capability in ARCHITECTURES:
        try:
            print(f"compute capability {capability / 10}: {len(kernels.compiled(capability))} bytes")
        except EdgefaceError as error:
            print(f"compute capability {capability / 10}: {error}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", action="store_true", help="compile the kernels for all GPUs, and nothing else")
    parser.add_argument("--minutes", type=float, default=28.0, help="time for everything")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="only these steps")
    parser.add_argument("--again", action="store_true", help="also steps that are done")
    parser.add_argument("--int8", type=Path, help="int8 graph; else build/attributes.trt-int8.onnx where it exists")
    parser.add_argument("--data", type=Path, action="append", default=[], help="UTKFace, to judge the engines")
    options = parser.parse_args(arguments)
    try:
        if options.prepare:
            prepare()
            return 0
        usual = ROOT / "build" / "attributes.trt-int8.onnx"
        options.out.mkdir(parents=True, exist_ok=True)
        session = Session(find_gpu().name, options.out, options.minutes)
        for step in steps(options.data, options.int8 or (usual if usual.is_file() else None)):
            wanted = step.name in (options.only or (step.name,))
            if wanted and (options.again or session.done.get(step.name, {}).get("result") != "done"):
                session.run(step)
    except EdgefaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if all(what["result"] == "done" for what in session.done.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
