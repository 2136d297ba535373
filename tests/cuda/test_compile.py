"""The kernels compiled by nvcc for the oldest and newest GPUs; what they take of one; the cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeface.cuda import compile as kernels
from edgeface.cuda.structs import ARGUMENTS, digest
from edgeface.errors import BackendError, EdgefaceError, MissingDependencyError

ARCHITECTURES = (75, 87, 90)
"""Turing, Jetson Orin, Hopper."""


@pytest.fixture
def nvcc() -> None:
    try:
        kernels.find_nvcc()
    except EdgefaceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("capability", ARCHITECTURES)
def test_no_kernel_spills(nvcc: None, tmp_path: Path, capability: int) -> None:
    try:
        found = kernels.resources(capability, tmp_path / "kernels.cubin")
    except BackendError as error:
        if "Unsupported gpu architecture" in str(error):
            pytest.skip(f"this nvcc does not know sm_{capability}")
        raise
    assert set(found) == set(ARGUMENTS)
    for name, taken in found.items():
        assert (taken.stack, taken.spill_stores, taken.spill_loads) == (0, 0, 0), name
        assert taken.registers <= 64, name
    assert (tmp_path / "kernels.cubin").stat().st_size > 1000


def test_ptx_holds_every_kernel(nvcc: None, tmp_path: Path) -> None:
    kernels.run_nvcc(["-ptx", "-arch=compute_90"], tmp_path / "kernels.ptx")
    text = (tmp_path / "kernels.ptx").read_text()
    assert ".target sm_90" in text
    bodies = {part.split("(")[0]: part for part in text.split(".entry ")[1:]}
    assert set(bodies) == set(ARGUMENTS)
    fused = [name for name, body in bodies.items() if "fma." in body]
    assert fused == ["plan_crops"], "only the logarithm's own code may fuse, or faces differ from the CPU's by a bit"


def test_kernels_are_compiled_once(nvcc: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path))
    image = kernels.compiled(90)
    (path,) = (tmp_path / "kernels").iterdir()
    assert path.name == f"{digest()[:16]}-sm_90.cubin"
    monkeypatch.setattr(kernels, "run_nvcc", lambda *_: pytest.fail("compiled again"))
    assert kernels.compiled(90) == image


def test_an_unknown_architecture_is_one_sentence(nvcc: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path))
    with pytest.raises(BackendError, match="nvcc did not compile the kernels .*sm_11.*: use the CUDA that fits"):
        kernels.compiled(11)
    assert list((tmp_path / "kernels").iterdir()) == []


def test_without_nvcc_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingDependencyError, match="`nvcc`, which is not installed: install the CUDA toolkit"):
        kernels.find_nvcc()


def test_a_report_is_read() -> None:
    report = """ptxas info    : Compiling entry function 'halve' for 'sm_87'
ptxas info    : Function properties for halve
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 14 registers, used 0 barriers, 400 bytes cmem[0]"""
    assert kernels.read_report(report) == {"halve": kernels.Resources(14, 8, 4, 12)}
    with pytest.raises(BackendError, match="`halve`"):
        kernels.read_report(report.replace("Used", "used"))
