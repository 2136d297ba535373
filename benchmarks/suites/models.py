"""The shipped attribute network in the precisions that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.suites.faces import portrait_crops
from edgeface.calibration.feeds import calibration_ranges
from edgeface.calibration.set_file import read_set
from edgeface.evaluation.datasets import find_faces
from edgeface.inference.detector import FaceDetector, shipped_model
from edgeface.quantization.quantize import quantize
from edgeface.quantization.ranges import Ranges, activation_ranges
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import model_spec
from edgeface.spec.model import ModelSpec

_SET = Path(__file__).resolve().parents[2] / "calibration" / "utkface-512.toml"


@dataclass(frozen=True)
class Artefacts:
    """The shipped network and what was made of it: files by the name in tables, and what INT8 was calibrated on."""

    spec: ModelSpec
    fp32: Path
    fp16: Path
    int8: Path
    calibrated_on: str

    def answers(self, crops: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """Of the network as it is shipped."""
        with open_backend(self.fp32, threads=1) as backend:
            return backend.infer({backend.inputs[0].name: crops})


def artefacts(folder: Path, utkface: Path | None) -> Artefacts:
    """Write the shipped network's FP16 and INT8 files for this processor into ``folder``.

    INT8 takes its ranges from the shipped calibration set where ``utkface`` has its images, else from the portraits.
    """
    model = shipped_model("attributes.onnx")
    with_set = utkface is not None and utkface.is_dir()
    ranges = _set_ranges(model, utkface) if with_set and utkface is not None else _portrait_ranges(model)
    return Artefacts(
        model_spec(model),
        model,
        quantize(model, folder / "attributes.fp16.onnx", "fp16", "tensorrt"),
        quantize(model, folder / "attributes.int8.onnx", "int8", "auto", ranges),
        _SET.name if with_set else "2 portraits",
    )


def _set_ranges(model: Path, utkface: Path) -> Ranges:
    calibration = read_set(_SET)
    return calibration_ranges(model, calibration, find_faces([utkface]), "percentile")


def _portrait_ranges(model: Path) -> Ranges:
    with FaceDetector(threads=1) as detector:
        crops = portrait_crops(detector, model_spec(model))
    return activation_ranges(model, [{"crops": crops}], "percentile", "portraits")
