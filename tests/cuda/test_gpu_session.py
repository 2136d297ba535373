"""The GPU session: its time limits, what it writes when, how it goes on after a break, its steps on the emulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import session as gpu_session
from benchmarks.gpu.clips import pictures
from benchmarks.gpu.session import Session, Step, steps
from benchmarks.gpu.session_steps import flat, verdicts
from edgeface.inference.detector import FaceDetector
from tests.conftest import ROOT
from tests.cuda import emulated


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_session, "WORK", tmp_path / "work")


def python(name: str, code: str, limit_s: float = 30) -> Step:
    return Step(name, limit_s, (sys.executable, "-c", code, "{out}"))


def written(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "h200-session.json").read_text())["steps"]
    return found


def test_a_step_that_hangs_is_ended_with_all_it_started_and_the_next_one_runs(tmp_path: Path) -> None:
    child = tmp_path / "child"
    hangs = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(child)!r}, 'w').write(str(p.pid)); print('so far so good', flush=True); time.sleep(600)"
    )
    session = Session("NVIDIA H200", tmp_path, minutes=5)
    assert session.run(python("hangs", hangs, limit_s=3))["result"] == "broke off after 3 s"
    assert written(tmp_path)["hangs"]["said"].startswith("so far so good")
    assert session.run(python("works", "import sys; open(sys.argv[1], 'w').write('{}')"))["file"] == "h200-works.json"
    assert session.run(python("fails", "raise SystemExit('error: no engine')"))["result"] == "failed (1)"
    found = written(tmp_path)
    assert list(found) == ["hangs", "works", "fails"] and "no engine" in found["fails"]["said"]
    ended_by = time.monotonic() + 10
    while Path(f"/proc/{child.read_text()}/cmdline").is_file() and time.monotonic() < ended_by:
        if not Path(f"/proc/{child.read_text()}/cmdline").read_bytes():
            break  # a zombie that waits for its new parent
        time.sleep(0.05)
    with pytest.raises(OSError), Path(f"/proc/{child.read_text()}/exe").open("rb") as running:
        os.fstat(running.fileno())


def test_no_step_starts_without_time(tmp_path: Path) -> None:
    assert Session("NVIDIA H200", tmp_path, minutes=0).run(python("late", ""))["result"] == "not started: no time left"


def test_a_session_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    Session("NVIDIA H200", tmp_path, 5).run(python("first", ""))
    again = Session("NVIDIA H200", tmp_path, 5)
    assert again.done["first"]["result"] == "done"


def test_every_step_is_a_command_that_exists() -> None:
    for step in steps([Path("utkface")], Path("int8.onnx")):
        assert "{out}" in step.command
        module = ROOT / Path(*step.command[2].split(".")).with_suffix(".py")
        assert module.is_file()
        if module.stem == "session_steps":
            assert step.command[3] == step.name
    assert sum("--int8" in step.command for step in steps([], None)) == 0


def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if gpu_session.main(["--out", str(tmp_path), "--minutes", "0"]) == 0:
        pytest.skip("there is a GPU here")
    assert "error: no NVIDIA GPU here" in capsys.readouterr().err


@pytest.mark.parametrize("faces", [1, 8, 32])
def test_the_pictures_hold_as_many_faces_as_they_say(faces: int) -> None:
    (picture,) = pictures((1280, 720), faces, 1)
    with FaceDetector(threads=1) as detector:
        assert len(detector(picture)) == faces


def test_memory_that_grows_is_not_flat() -> None:
    def points(gpu_mb: float, process_mb: float) -> list[dict[str, float]]:
        return [{"gpu_free_mb": 4000 - gpu_mb * k, "process_mb": 300 + process_mb * k} for k in range(21)]

    assert flat(points(0, 0)) is True
    assert flat(points(1, 0)) is False
    assert flat(points(0, 5)) is False
    assert flat(points(0, 0)[:2]) is None


def test_verdicts_name_what_holds() -> None:
    copies = {name: {"calls": 1.0} for name in ("host_to_device", "device_to_host", "synchronisations")}
    row = {
        "size": (1920, 1080), "asked_faces": 8, "detector": "fp16", "attributes": "fp16", "copies": copies,
        "gpu": {"graph_ms": 1.2, "overhead": {"median": 1.01}},
    }  # fmt: skip
    assert list(verdicts([row]).values()) == [True, True, True]
    row["gpu"] = {"graph_ms": 1.6, "overhead": {"median": 1.2}}
    copies["host_to_device"] = {"calls": 2.0}
    assert list(verdicts([row]).values()) == [False, False, False]
    assert set(verdicts([]).values()) == {None}


def test_the_steps_run_on_the_emulated_gpu(tmp_path: Path) -> None:
    emulated.library_path()
    script = f"""
import sys
from pathlib import Path
import tests.cuda.as_gpu
from benchmarks.gpu import session_steps as gpu_steps
from edgeface.inference.detector import shipped_model
gpu_steps.WORK, gpu_steps.SIZES, gpu_steps.TOGETHER = Path({str(tmp_path)!r}), ((160, 96), (192, 108)), 4
gpu_steps.engine_path = lambda network, precision: shipped_model(f"{{network}}.onnx")
for step in ("kernels", "streams", "memory"):
    arguments = [step, "--save", f"{tmp_path}/{{step}}.json", "--seconds", "0.01", "--frames", "20"]
    assert gpu_steps.main(arguments) == 0, step
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert found["kernels"]["compute_capability"] == 8.7
    assert [row["streams"] for row in found["streams"]["rows"]] == [1, 2, 4, 8]
    assert found["memory"]["points"][-1]["frames"] == 20 and found["memory"]["flat"] is True
