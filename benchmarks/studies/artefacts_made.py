"""Every artefact of one attribute network, made into a folder, and how each answers crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.calibration import read_set
from edgeface.calibration.feeds import calibration_ranges
from edgeface.common.console import progress
from edgeface.common.files import ENGINE_SUFFIX
from edgeface.common.machine import gpu
from edgeface.errors import ConfigError
from edgeface.evaluation.datasets import find_faces
from edgeface.export.opencv_variant import write_opencv_variant
from edgeface.parity import answers_of
from edgeface.quantization.quantize import quantize
from edgeface.spec.metadata import model_spec
from edgeface.spec.model import ModelSpec
from edgeface.types import Attributes

Crops = NDArray[np.uint8]
METHOD = "percentile"


@dataclass(frozen=True)
class Artefact:
    """One file of the network and the runtime that answers crops uint8 ``[N, S, S, 3]`` RGB with it."""

    name: str
    path: Path
    spec: ModelSpec
    answer: Callable[[Crops], Attributes]


@dataclass(frozen=True)
class Absent:
    """An artefact that there is not, and why."""

    name: str
    reason: str


def artefacts_of(
    model: Path, calibration: Path, data: Sequence[Path], trained: Path | None, engines: Sequence[Path], folder: Path
) -> list[Artefact | Absent]:
    """The float ONNX file ``model`` in every form: what is not given is made in ``folder``.

    ``calibration`` is the set for 8 bits, its images are in ``data``; ``trained`` the checkpoint or program that the
    model was exported from. Raises ``ConfigError`` where that is another network.
    """
    with progress("calibrating") as report:
        ranges = calibration_ranges(model, read_set(calibration), find_faces(data), METHOD, report)
    fp16, u8s8, s8s8 = (folder / f"{kind}.onnx" for kind in ("fp16", "u8s8", "s8s8"))
    quantize(model, fp16, "fp16", "tensorrt")
    quantize(model, u8s8, "int8", "cpu-x86", ranges)
    quantize(model, s8s8, "int8", "tensorrt", ranges)
    return [
        _of_pytorch(trained, model_spec(model)),
        _of_onnxruntime("ONNX FP16 (for TensorRT)", fp16),
        _of_onnxruntime("ONNX INT8 u8s8 (for x86)", u8s8),
        _of_onnxruntime("ONNX INT8 s8s8 (for TensorRT)", s8s8),
        _of_opencv(model, folder / "opencv.onnx"),
        *_of_tensorrt(engines),
    ]


def _of_pytorch(trained: Path | None, wanted: ModelSpec) -> Artefact | Absent:
    if trained is None:
        return Absent("PyTorch", "not named: add --trained with the model.pt2 that it was exported from")
    from trainer.evaluation.artefacts import open_artefact

    estimator = open_artefact(trained, "cpu")
    if estimator.spec.weights_sha256 != wanted.weights_sha256:
        found, expected = (spec.weights_sha256[:12] or "none" for spec in (estimator.spec, wanted))
        raise ConfigError(f"`{trained}` has the weights {found}, expected those of the ONNX file, {expected}")
    return Artefact(f"PyTorch ({trained.suffix})", trained, estimator.spec, estimator.from_crops)


def _of_onnxruntime(name: str, path: Path) -> Artefact:
    return Artefact(name, path, model_spec(path), partial(answers_of, path))


def _of_opencv(model: Path, path: Path) -> Artefact:
    write_opencv_variant(model, path)
    spec = model_spec(path)
    return Artefact(f"OpenCV variant (cv2.dnn {cv2.__version__})", path, spec, partial(opencv_answers, path, spec))


def opencv_answers(path: Path, spec: ModelSpec, crops: Crops) -> Attributes:
    """What OpenCV's DNN module says of ``crops``, one at a time."""
    net = cv2.dnn.readNetFromONNX(str(path))
    names = [head.name for head in spec.heads]
    rows = []
    for crop in crops:
        net.setInput(crop[None].astype(np.float32))
        rows.append([np.ravel(output) for output in net.forward(names)])
    columns = {name: np.stack([row[place] for row in rows]) for place, name in enumerate(names)}
    known = {name: columns[name] for name in Attributes.__dataclass_fields__ if name in columns}
    shaped = {name: values[:, 0] if name.startswith("age") else values for name, values in known.items()}
    return Attributes(**{**vars(Attributes.unknown(len(crops))), **shaped})


def _of_tensorrt(engines: Sequence[Path]) -> list[Artefact | Absent]:
    if gpu() is None:
        return [Absent("TensorRT", "no GPU")]
    if not engines:
        return [Absent("TensorRT", f"no engine named: add --engine with a file ending in {ENGINE_SUFFIX}")]
    return [_of_onnxruntime(f"TensorRT ({engine.name})", engine) for engine in engines]
