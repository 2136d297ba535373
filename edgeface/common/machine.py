"""What this machine is: processor, memory, GPU, Jetson board, and the fingerprint that results files carry."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from edgeface import __version__

Facts = dict[str, Any]

_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
"""Instruction sets that decide how fast float32 and int8 networks run, as /proc/cpuinfo spells them."""
_TIMEOUT_S = 10


def fingerprint() -> Facts:
    """What has to be known of a machine to compare a figure measured on it, and the day it was measured."""
    return {
        "date": datetime.date.today().isoformat(),
        "edgeface": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "memory_mb": memory()["total_mb"],
        "gpu": gpu(),
        "jetson": jetson(),
        "onnxruntime": version("onnxruntime") or version("onnxruntime-gpu"),
    }


def version(distribution: str) -> str | None:
    """A package's version by pip's metadata; ``None`` where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu() -> Facts:
    """Name, architecture, cores and the instruction sets that matter."""
    text = _text("/proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    return {
        "name": name[1] if name else platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "features": [feature for feature in _FEATURES if feature in known],
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def memory() -> Facts:
    """Megabytes of the machine, less what a container's limit leaves."""
    rows = dict(line.split(":", 1) for line in _text("/proc/meminfo").splitlines() if ":" in line)
    megabytes = {name: int(rows[name].split()[0]) // 1024 for name in ("MemTotal", "MemAvailable") if name in rows}
    limit = _text("/sys/fs/cgroup/memory.max").strip()
    return {
        "total_mb": megabytes.get("MemTotal"),
        "available_mb": megabytes.get("MemAvailable"),
        "container_limit_mb": int(limit) // 2**20 if limit.isdigit() else None,
    }


def gpu() -> str | None:
    """Name, driver and memory of the NVIDIA GPUs as nvidia-smi states them."""
    return first_line("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")


def jetson() -> str | None:
    """The board's name where this is a Jetson."""
    name = _text("/proc/device-tree/model").strip("\0\n ")
    release = _text("/etc/nv_tegra_release").splitlines()
    return name if "Jetson" in name else (release[0] if release else None)


def first_line(*command: str) -> str | None:
    """The first line a command prints; ``None`` where there is no such command or it fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
