"""The pipeline of the shipped networks on the emulated driver, and what the CPU says of the same images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeface.cuda.context import Context
from edgeface.gpu.pipeline import GpuPipeline
from edgeface.inference.attributes import AttributeEstimator
from edgeface.inference.detector import FaceDetector, shipped_model
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import detector_spec, model_spec
from edgeface.types import Attributes, Faces
from tests.conftest import ROOT
from tests.cuda import emulated

DETECTOR, NETWORK = shipped_model("detector.onnx"), shipped_model("attributes.onnx")
PORTRAITS = sorted((ROOT / "edgeface" / "assets" / "photos").glob("*.jpg"))


def engine(path: Path, batches: tuple[int, int] = (1, 64)) -> emulated.EmulatedEngine:
    return emulated.EmulatedEngine(open_backend(path, 1), batches)


def open_pipeline(context: Context, **settings: object) -> GpuPipeline:
    spec = model_spec(NETWORK)
    parts = (engine(DETECTOR), detector_spec(DETECTOR), engine(NETWORK), spec)
    return GpuPipeline(context, emulated.IMAGE, *parts, **settings)


def crowd(portrait: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """The portrait again and again, small."""
    return np.tile(portrait[::3, ::3], (rows, columns, 1))


def by_cpu(image: np.ndarray, **settings: float) -> tuple[Faces, Attributes]:
    with FaceDetector(threads=1, **settings) as detector, AttributeEstimator(threads=1) as estimator:
        faces = detector(image)
        return faces, estimator(image, faces)


def assert_same(found: tuple[Faces, Attributes], wanted: tuple[Faces, Attributes]) -> None:
    assert len(found[0]) == len(wanted[0]) == len(found[1])
    np.testing.assert_allclose(found[0].boxes, wanted[0].boxes, atol=0.5)
    np.testing.assert_allclose(found[0].scores, wanted[0].scores, atol=0.01)
    np.testing.assert_allclose(found[0].landmarks, wanted[0].landmarks, atol=0.5)
    np.testing.assert_allclose(found[1].age, wanted[1].age, atol=0.5)
    np.testing.assert_allclose(found[1].race, wanted[1].race, atol=0.03)
