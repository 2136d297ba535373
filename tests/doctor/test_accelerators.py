"""The doctor on engines: what they need, which precisions pay here, which files of a folder load and why not."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from edgeface.common import machine
from edgeface.cuda.pycuda_context import Gpu
from edgeface.doctor import accelerators as doctor_engines
from edgeface.errors import ArtifactError
from edgeface.spec.metadata import passport_path
from edgeface.spec.passport import cpu_identity
from tests.cli.conftest import Cli, cli  # noqa: F401
from tests.fixtures import tiny_model  # noqa: F401
from tests.spec.test_passport import COMMAND, ORIN, passport_of


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:  # noqa: F811
    """A float model, a judged engine of this processor, one of another, and three that must not load."""
    place = tmp_path / "models"
    place.mkdir()
    names = ("a-float.onnx", "b-judged.onnx", "c-elsewhere.onnx", "d-changed.engine", "e-orphan.engine", "f-torn.onnx")
    for name in names:
        shutil.copy(tiny_model, place / name)
    judged = passport_of(place / "b-judged.onnx", gate={"verdict": "passed"}, precision={"precision": "int8"})
    judged.write(passport_path(place / "b-judged.onnx"))
    elsewhere = dataclasses.replace(judged, machine={"architecture": "z80"})
    elsewhere.write(passport_path(place / "c-elsewhere.onnx"))
    passport_of(place / "d-changed.engine", machine=ORIN).write(passport_path(place / "d-changed.engine"))
    (place / "d-changed.engine").write_bytes(b"something else")
    (place / "f-torn.onnx").write_bytes((place / "f-torn.onnx").read_bytes()[:100])
    return place


def test_a_folder_is_sorted_into_what_loads_and_why_not(folder: Path) -> None:
    facts = {fact["name"]: fact for fact in doctor_engines.folder_facts(folder)}
    assert [name for name, fact in facts.items() if fact["loads"]] == ["a-float.onnx", "b-judged.onnx"]
    assert facts["a-float.onnx"]["passport"] == "none"
    assert facts["b-judged.onnx"]["passport"] == "int8, passed"
    assert facts["b-judged.onnx"]["device"].startswith("CPU (CPUExecutionProvider")
    here = cpu_identity()["architecture"]
    assert (
        f"architecture is z80 in its passport, {here} here; build it again: {COMMAND}"
        in facts["c-elsewhere.onnx"]["why"]
    )
    assert "is not the one of its passport" in facts["d-changed.engine"]["why"]  # before TensorRT sees it
    assert "nothing vouches for the engine" in facts["e-orphan.engine"]["why"]
    assert "is not an ONNX model" in facts["f-torn.onnx"]["why"]


def test_the_command_fails_where_something_does_not_load(folder: Path, cli: Cli) -> None:  # noqa: F811
    result = cli("doctor", folder)
    assert result.code == 1
    lines = result.out.splitlines()
    assert len(lines) == 6
    assert lines[1].startswith("b-judged.onnx: loads on CPU (") and lines[1].endswith(", passport: int8, passed")
    assert cli("doctor", folder, "--json").json()["artefacts"] == doctor_engines.folder_facts(folder)
    for path in folder.iterdir():
        if path.name[0] not in "ab":
            path.unlink()
    assert cli("doctor", folder).code == 0


def test_folders_without_artefacts(tmp_path: Path, cli: Cli) -> None:  # noqa: F811
    with pytest.raises(ArtifactError, match=r"no \.onnx or \.engine file in"):
        doctor_engines.folder_facts(tmp_path)
    assert (
        cli("doctor", tmp_path / "none").err
        == f"error: cannot look into `{tmp_path / 'none'}`: No such file or directory\n"
    )


def test_what_is_missing_has_a_reason() -> None:
    facts = doctor_engines.accelerator_facts()
    json.dumps(facts)
    assert facts["gpu"] and facts["tensorrt"]
    if facts["compute_capability"] is None:
        assert facts["gpu"].startswith("no NVIDIA GPU here: ")
    assert doctor_engines.precision_facts()["cpu"]["fp32"] == "yes"


@pytest.mark.parametrize(
    ("architecture", "features", "int8", "fp16"),
    [
        ("x86_64", ["avx2", "avx512_vnni"], "yes: VNNI", "half the size only"),
        ("x86_64", ["avx2"], "without VNNI, s8s8 sums saturate", "half the size only"),
        ("aarch64", ["asimd", "asimddp"], "yes: int8 dot products", "let the gate measure"),
        ("aarch64", ["asimd"], "doubtful: no int8 dot products", "let the gate measure"),
    ],
)
def test_precisions_of_processors(
    monkeypatch: pytest.MonkeyPatch, architecture: str, features: list[str], int8: str, fp16: str
) -> None:
    monkeypatch.setattr(machine, "cpu", lambda: {"architecture": architecture, "features": features})
    facts = doctor_engines.precision_facts()["cpu"]
    assert int8 in facts["int8"]
    assert fp16 in facts["fp16"]


@pytest.mark.parametrize(
    ("capability", "fp16", "int8"),
    [("5.3", "no", "no"), ("6.1", "yes", "no"), ("8.7", "yes", "yes"), ("12.0", "yes", "yes")],
)
def test_precisions_of_gpus(monkeypatch: pytest.MonkeyPatch, capability: str, fp16: str, int8: str) -> None:
    monkeypatch.setattr(doctor_engines, "find_gpu", lambda: Gpu("a GPU", capability, "12.4", 8192))
    facts = doctor_engines.precision_facts()["gpu"]
    assert facts["fp16"].startswith(fp16)
    assert facts["int8"].startswith(int8)
    assert doctor_engines.accelerator_facts()["compute_capability"] == capability
