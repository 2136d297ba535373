"""What of this machine engines depend on: GPU, CUDA, TensorRT, JetPack; the precisions that pay; what would load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgeface.common import machine
from edgeface.common.files import ENGINE_SUFFIX
from edgeface.cuda.pycuda_context import Gpu, find_gpu
from edgeface.errors import ArtifactError, EdgefaceError
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import passport_path
from edgeface.spec.passport import load_passport

Facts = dict[str, Any]

_FLOAT16_FROM, _INT8_FROM = (6, 0), (7, 2)
"""Compute capabilities from which the arithmetic is faster than float32's (NVIDIA's TensorRT support matrix)."""
_SUFFIXES = (".onnx", ENGINE_SUFFIX)


def accelerator_facts() -> Facts:
    """Versions of all that a TensorRT engine needs, each with the reason where it is missing."""
    gpu = _gpu()
    return {
        "gpu": gpu if isinstance(gpu, str) else gpu.name,
        "compute_capability": None if isinstance(gpu, str) else gpu.compute_capability,
        "gpu_memory_mb": None if isinstance(gpu, str) else gpu.memory_mb,
        "driver": machine.first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cuda_of_driver": None if isinstance(gpu, str) else gpu.cuda,
        "tensorrt": _tensorrt(),
        "jetpack": machine.first_line("dpkg-query", "--showformat=${Version}\\n", "--show", "nvidia-jetpack"),
    }


def precision_facts() -> Facts:
    """For processor and GPU: which precisions make sense, and why."""
    gpu = _gpu()
    facts: Facts = {"cpu": _cpu_precisions(machine.cpu())}
    if isinstance(gpu, Gpu):
        facts["gpu"] = _gpu_precisions(gpu)
    return facts


def folder_facts(folder: str | os.PathLike[str]) -> list[Facts]:
    """Every ONNX file and engine directly in ``folder``: whether it loads here, on what, or why not.

    Raises ``ArtifactError`` where there is no such folder or nothing in it.
    """
    try:
        found = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in _SUFFIXES)
    except OSError as error:
        raise ArtifactError(f"cannot look into `{folder}`: {error.strerror or error}") from error
    if not found:
        raise ArtifactError(f"no {' or '.join(_SUFFIXES)} file in `{folder}`")
    return [_artefact(path) for path in found]


def _artefact(path: Path) -> Facts:
    """Loading it for real is the only preflight that TensorRT offers."""
    try:
        with open_backend(path) as backend:
            return {"name": path.name, "loads": True, "device": backend.device, **_vouched(path)}
    except EdgefaceError as error:
        return {"name": path.name, "loads": False, "why": str(error)}


def _vouched(path: Path) -> Facts:
    passport = load_passport(path) if passport_path(path).exists() else None
    if passport is None:
        return {"passport": "none"}
    precision = passport.precision.get("precision", "fp32")
    return {"passport": f"{precision}, {passport.gate.get('verdict', 'not judged')}"}


def _gpu() -> Gpu | str:
    try:
        return find_gpu()
    except EdgefaceError as error:
        return str(error)


def _tensorrt() -> str:
    """Its version; it is not asked for anything else, since without a GPU it crashes."""
    try:
        from edgeface.runtime.trt import trt
    except EdgefaceError as error:
        return str(error)
    return str(trt.__version__)


def _cpu_precisions(cpu: Facts) -> Facts:
    arm = cpu["architecture"] in ("aarch64", "arm64")
    features = set(cpu["features"])
    if arm and features & {"asimddp", "i8mm"}:
        int8 = "yes: int8 dot products (s8s8)"
    elif arm:
        int8 = "doubtful: no int8 dot products (asimddp); let the gate measure"
    elif features & {"avx512_vnni", "avx_vnni", "amx_int8"}:
        int8 = "yes: VNNI (u8s8)"
    else:
        int8 = "yes, as u8s8 with weights of seven bits: without VNNI, s8s8 sums saturate"
    fp16 = "let the gate measure" if arm else "for half the size only: ONNX Runtime computes in float32 here"
    return {"fp32": "yes", "fp16": fp16, "int8": int8}


def _gpu_precisions(gpu: Gpu) -> Facts:
    generation = tuple(int(part) for part in gpu.compute_capability.split("."))

    def says(since: tuple[int, int], what: str) -> str:
        needed = ".".join(map(str, since))
        return f"yes: {what}" if generation >= since else f"no: {what} begins with compute capability {needed}"

    return {
        "fp32": "yes",
        "fp16": says(_FLOAT16_FROM, "fast float16"),
        "int8": says(_INT8_FROM, "int8 tensor cores"),
    }
