"""The doctor sees what is there, names what is missing, and never fails because of it."""

from __future__ import annotations

import builtins
import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeface.common import machine
from edgeface.common.files import sha256_file
from edgeface.common.install import install_extra, pip
from edgeface.doctor import examine as doctor
from edgeface.inference import detector as detect
from tests.cli.conftest import Cli, cli  # noqa: F401
from tests.fixtures import tiny_detector, tiny_model, write_tiny_detector  # noqa: F401


@pytest.fixture
def models(tmp_path: Path, tiny_model: Path, tiny_detector: Path) -> Path:  # noqa: F811
    """A folder of models."""
    shutil.copy(tiny_model, tmp_path / "attributes.onnx")
    shutil.copy(tiny_detector, tmp_path / "detector.onnx")
    return tmp_path


def test_this_machine(cli: Cli) -> None:  # noqa: F811
    result = cli("doctor", "--json")
    report = result.json()
    assert result.code == 0, report["problems"]
    assert report["ok"] is True
    assert report["self_test"].startswith("passed: ")
    assert report["cpu"]["usable_cores"] >= 1
    assert report["packages"]["numpy"] == importlib.metadata.version("numpy")
    assert "CPUExecutionProvider" in report["onnxruntime_providers"]
    assert report["video"]["pyav"] == importlib.metadata.version("av")
    models = {model["name"]: model["sha256"] for model in report["models"]}
    assert models == {name: sha256_file(detect.shipped_model(name)) for name in ("detector.onnx", "attributes.onnx")}


def test_for_people(cli: Cli) -> None:  # noqa: F811
    result = cli("doctor")
    assert result.code == 0
    assert "cpu: \n  name: " in result.out
    assert "onnxruntime providers: " in result.out
    assert result.out.endswith("edgeface works here\n")


def test_a_missing_model_is_a_problem(models: Path) -> None:
    (models / "attributes.onnx").unlink()
    report = doctor.examine(models)
    assert not report.ok
    assert report.facts["self_test"] == "not run"
    assert report.problems[0].startswith("model attributes.onnx: cannot read model")


def test_a_damaged_model_is_a_problem(models: Path) -> None:
    (models / "detector.onnx").write_text("damaged")
    assert "is not an ONNX model or is damaged" in doctor.examine(models).problems[0]


def test_a_problem_means_exit_code_1(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:  # noqa: F811
    report = doctor.Report({"self_test": "not run"}, ("a part is missing",), ("a part would help",))
    monkeypatch.setattr(doctor, "examine", lambda: report)
    result = cli("doctor")
    assert result.code == 1
    assert result.out == (
        "self test: not run\nhint: a part would help\nproblem: a part is missing\nedgeface does not work here yet\n"
    )
    assert cli("doctor", "--json").json()["problems"] == ["a part is missing"]


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"onnxruntime", "onnxruntime-gpu", "torch", "pycuda"}
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0" if name in {d for _, names, _ in doctor._PACKAGES for d in names} else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(doctor, "_spec_exists", lambda module: False)
    problems: list[str] = []
    hints: list[str] = []
    versions = doctor._packages(problems, hints, has_gpu=False)
    assert problems == [f"missing onnxruntime: {install_extra('', 'onnxruntime')}"]
    assert hints == [f"no torch here: training and exporting needs {install_extra('train', 'torch')}"]
    assert versions["torch"] is None
    assert versions["numpy"] == "1.0"
    doctor._packages(problems, hints, has_gpu=True)
    assert hints[-1] == f"no pycuda here: running on the GPU needs {install_extra('gpu', 'pycuda')}"


def test_system_packages_count_as_present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "version", lambda distribution: None)
    problems: list[str] = []
    assert doctor._packages(problems, [], has_gpu=False)["numpy"] == "present"
    assert problems == []


def test_a_broken_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fault = builtins.__import__, "libX.so.1: cannot open shared object file"

    def broken(name: str) -> Any:
        if name in ("av", "onnxruntime"):
            raise ImportError(fault)
        return real(name)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    problems: list[str] = []
    assert doctor._video(problems, [])["pyav"] is None
    assert doctor._providers(problems) == []
    assert problems == [
        f"cannot import av ({fault}): {pip()} install --force-reinstall av",
        f"cannot import onnxruntime ({fault}): {pip()} install --force-reinstall onnxruntime",
    ]


def test_no_encoder_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_H264_ENCODER", "no-such-encoder")
    hints: list[str] = []
    assert doctor._video([], hints)["h264_encoder"] is False
    assert "so videos are written as MPEG-4" in hints[0]


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad, silent = tmp_path / "good", tmp_path / "bad", tmp_path / "silent"
    for path, script in ((good, "echo a; echo b"), (bad, "exit 3"), (silent, "exit 0")):
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert machine.first_line("good") == "a"
    assert machine.first_line("bad") is None
    assert machine.first_line("silent") is None
    assert machine.first_line("no-such-command") is None


def test_jetsons_are_told_about_jetpack(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/proc/device-tree/model": "NVIDIA Jetson Orin Nano\0", "/proc/cpuinfo": "Features\t: fp asimd asimddp\n"}
    monkeypatch.setattr(machine, "_text", lambda path: texts.get(path, ""))
    report = doctor.examine(models)
    assert report.facts["jetson"] == "NVIDIA Jetson Orin Nano"
    assert report.facts["cpu"]["features"] == ["asimd", "asimddp"]
    assert report.facts["memory"] == {"total_mb": None, "available_mb": None, "container_limit_mb": None}
    assert "take TensorRT, CUDA and PyTorch from JetPack" in report.hints[-1]
    json.dumps(report.to_dict())


def test_a_container_limit_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/sys/fs/cgroup/memory.max": "536870912\n", "/proc/meminfo": "MemTotal: 2048 kB\nMemAvailable: 1024 kB\n"}
    monkeypatch.setattr(machine, "_text", lambda path: texts.get(path, ""))
    assert machine.memory() == {"total_mb": 2, "available_mb": 1, "container_limit_mb": 512}


def test_files_that_cannot_be_read_are_empty(tmp_path: Path) -> None:
    assert machine._text(str(tmp_path / "none")) == ""


def test_a_self_test_that_finds_no_face_fails(models: Path) -> None:
    write_tiny_detector(models / "detector.onnx", gain=0)
    report = doctor.examine(models)
    assert report.facts["self_test"] == "failed: no face"
    assert "no face found on the portrait" in report.problems[0]
