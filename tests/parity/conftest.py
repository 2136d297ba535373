"""Crops whose answers by the tiny network are known, and candidates that answer otherwise in a known way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeface.evaluation.labelled_crops import LabelledCrops
from edgeface.evaluation.metrics import Labels
from edgeface.spec.model import GENDERS
from tests.fixtures import SIZE, tiny_detector, tiny_model  # noqa: F401

Perturb = Callable[..., Path]
FACES = 240


@pytest.fixture
def perturb(tmp_path: Path, tiny_model: Path) -> Perturb:  # noqa: F811
    """``perturb("name.onnx", years=1.1)``: the tiny network with these weights multiplied."""
    onnx = pytest.importorskip("onnx", reason="the extra `dev` is not installed")

    def call(name: str, source: Path = tiny_model, **factors: float | NDArray[np.float32]) -> Path:
        model = onnx.load(str(source))
        weights = {weight.name: weight for weight in model.graph.initializer}
        for weight, factor in factors.items():
            value = onnx.numpy_helper.to_array(weights[weight]) * factor
            weights[weight].CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float32), weight))
        onnx.save(model, str(tmp_path / name))
        return tmp_path / name

    return call


@pytest.fixture
def crops() -> LabelledCrops:
    """Half grey men, half pale red women, all White, their labels being what the tiny network answers.

    The brighter, the older: ages from 14 to 70, spread evenly in both halves.
    """
    gender = np.arange(FACES) % 2
    level = np.linspace(40, 200, FACES)
    redness = np.where(gender == 1, 24, -12)
    colours = np.stack([level + redness, level - redness / 2, level - redness / 2], axis=1)
    pixels = np.broadcast_to(np.rint(colours).astype(np.uint8)[:, None, None], (FACES, SIZE, SIZE, 3))
    labels = Labels(
        np.rint(pixels.mean(axis=(1, 2, 3)) * 90 / 255), np.full(FACES, -1), gender, np.zeros(FACES, np.int64)
    )
    names = tuple(f"{GENDERS[code]}-{number}" for number, code in enumerate(gender))
    return LabelledCrops(np.ascontiguousarray(pixels), labels, names, np.ones(FACES, bool), (), ())
