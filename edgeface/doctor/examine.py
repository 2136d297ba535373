"""What this machine has and whether edgeface works on it: processor, packages, codecs, GPU, models, one inference.

Nothing here fails because something is missing: what edgeface needs becomes a problem, what it could use a hint.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeface import __version__
from edgeface.common import machine
from edgeface.common.install import install_extra, pip
from edgeface.doctor.accelerators import accelerator_facts, precision_facts
from edgeface.errors import EdgefaceError

Facts = dict[str, Any]

CORE = ""
_PACKAGES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("numpy", ("numpy",), CORE),
    ("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), CORE),
    (
        "cv2",
        ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
        CORE,
    ),
    ("av", ("av",), CORE),
    ("typer", ("typer",), CORE),
    ("rich", ("rich",), CORE),
    ("torch", ("torch",), "train"),
    ("torchvision", ("torchvision",), "train"),
    ("onnx", ("onnx",), "quantize"),
    ("onnxscript", ("onnxscript",), "train"),
    ("onnxsim", ("onnxsim",), "train"),
    ("matplotlib", ("matplotlib",), "train"),
    ("tensorboard", ("tensorboard",), "train"),
    ("pycuda", ("pycuda",), "gpu"),
    ("paho", ("paho-mqtt",), "live"),
    ("prometheus_client", ("prometheus-client",), "live"),
)
"""Module, the distributions that may hold it (the first is the one to install), the extra that brings it."""
_PURPOSES = {
    "train": "training and exporting",
    "quantize": "int8 and fp16",
    "gpu": "running on the GPU",
    "live": "MQTT and Prometheus metrics",
}
_H264_ENCODER = "libx264"
_MODELS = ("detector.onnx", "attributes.onnx")


@dataclass(frozen=True)
class Report:
    """``facts`` by section; ``problems`` keep edgeface from working here, ``hints`` would make it do more."""

    facts: Facts
    problems: tuple[str, ...]
    hints: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_dict(self) -> Facts:
        return {"ok": self.ok, **self.facts, "problems": list(self.problems), "hints": list(self.hints)}


def examine(models: Path | None = None) -> Report:
    """Look at everything and run one inference.

    ``models`` is a folder with ``detector.onnx`` and ``attributes.onnx`` (``None``: the shipped ones).
    """
    problems: list[str] = []
    hints: list[str] = []
    jetson, gpu = machine.jetson(), machine.gpu()
    facts: Facts = {
        "edgeface": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "jetson": jetson,
        "cpu": machine.cpu(),
        "memory": machine.memory(),
        "gpu": gpu,
        "engines": accelerator_facts(),
        "precisions": precision_facts(),
        "packages": _packages(problems, hints, has_gpu=gpu is not None),
        "onnxruntime_providers": _providers(problems),
        "video": _video(problems, hints),
        "models": _models(models, problems),
    }
    facts["self_test"] = _self_test(models, problems) if not problems else "not run"
    if jetson:
        hints.append("this is a Jetson: take TensorRT, CUDA and PyTorch from JetPack (apt), pip's builds do not fit it")
    return Report(facts, tuple(problems), tuple(hints))


def _packages(problems: list[str], hints: list[str], has_gpu: bool) -> Facts:
    """Version of every package edgeface can use, or ``None``; what is missing is named with the way to get it."""
    versions: Facts = {}
    missing: dict[str, list[str]] = {}
    for module, distributions, extra in _PACKAGES:
        version = next(filter(None, map(machine.version, distributions)), None)
        versions[distributions[0]] = version or ("present" if _spec_exists(module) else None)
        if versions[distributions[0]] is None:
            missing.setdefault(extra, []).append(distributions[0])
    for extra, names in missing.items():
        if extra == CORE:
            problems.append(f"missing {', '.join(names)}: {install_extra('', names[0])}")
        elif extra != "gpu" or has_gpu:
            hints.append(f"no {', '.join(names)} here: {_PURPOSES[extra]} needs {install_extra(extra, names[0])}")
    return versions


def _providers(problems: list[str]) -> list[str]:
    module = _imported("onnxruntime", problems)
    return list(module.get_available_providers()) if module else []


def _video(problems: list[str], hints: list[str]) -> Facts:
    """FFmpeg inside PyAV, which decodes and encodes here, and the command, which edgeface does not need."""
    module = _imported("av", problems)
    h264 = module is not None and _encodes(module, _H264_ENCODER)
    if module and not h264:
        hints.append(f"PyAV has no H.264 encoder here, so videos are written as MPEG-4; {pip()} install --upgrade av")
    return {
        "pyav": module.__version__ if module else None,
        "h264_encoder": h264,
        "ffmpeg_command": machine.first_line("ffmpeg", "-version"),
    }


def _encodes(module: Any, name: str) -> bool:
    try:
        return bool(module.codec.Codec(name, "w").is_encoder)
    except ValueError:  # PyAV's UnknownCodecError
        return False


def _model(folder: Path | None, name: str) -> Path:
    from edgeface.inference.detector import shipped_model

    return shipped_model(name) if folder is None else folder / name


def _models(folder: Path | None, problems: list[str]) -> list[Facts]:
    found = []
    for name in _MODELS:
        try:
            from edgeface.doctor.model_info import model_info  # may miss a package itself

            facts = model_info(_model(folder, name))
            found.append({"name": name, "kind": facts["kind"], "bytes": facts["bytes"], "sha256": facts["sha256"]})
        except (EdgefaceError, ImportError) as error:
            problems.append(f"model {name}: {error}")
    return found


def _self_test(folder: Path | None, problems: list[str]) -> str:
    """One image through detector, alignment and attributes."""
    from edgeface.api import FaceAnalyzer
    from edgeface.imaging.portraits import portraits

    start = time.perf_counter()
    with FaceAnalyzer(_model(folder, "detector.onnx"), _model(folder, "attributes.onnx")) as analyzer:
        name, image = next(iter(portraits().items()))
        faces = analyzer(image)
    elapsed_ms = 1000 * (time.perf_counter() - start)
    if not faces:
        problems.append(f"self-test: no face found on the portrait {name}; install edgeface again")
        return "failed: no face"
    age = None if faces[0].age is None else f"{faces[0].age:.0f} years"
    said = [text for text in (name, faces[0].gender, age) if text]
    return f"passed: {', '.join(said)}, {elapsed_ms:.0f} ms with loading"


def _imported(name: str, problems: list[str]) -> Any:
    """A package that has to be there and whole; a broken one is a problem in its own words."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        problems.append(f"cannot import {name} ({error}): {pip()} install --force-reinstall {name}")
        return None


def _spec_exists(module: str) -> bool:
    """Also true of a system package without pip's metadata, as JetPack's and distributions' are."""
    return module in sys.modules or importlib.util.find_spec(module) is not None
