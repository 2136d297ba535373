"""From an image to network input: aligned crops and the detector's canvas, against other libraries' ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.peers.alignment import ALIGNMENTS, CANVASES, Align
from benchmarks.peers.base import Call, contender
from benchmarks.suites.contest import BenchmarkFixture, contest
from benchmarks.suites.faces import crowd
from benchmarks.suites.models import Artefacts
from benchmarks.suites.results import Suite
from edgeface.imaging.geometry import letterbox
from edgeface.imaging.preprocess import align, fit_canvas
from edgeface.inference.attributes import landmarks_of
from edgeface.inference.detector import FaceDetector


def grey_levels_apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean absolute difference, 0…255."""
    return round(float(np.abs(ours.astype(np.float32) - theirs.astype(np.float32)).mean()), 2)


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (4, 2)])
def test_crops(benchmark: BenchmarkFixture, suite: Suite, models: Artefacts, columns: int, rows: int) -> None:
    cv2.setNumThreads(1)
    picture = crowd(columns, rows, 1280, 720).picture
    with FaceDetector(threads=1) as detector:
        landmarks = landmarks_of(detector(picture))[: columns * rows]
    alignment, size = models.spec.alignment, models.spec.input_size
    wanted = align(picture, landmarks, alignment, size)

    def opened(way: Align) -> Callable[[], tuple[Call, Mapping[str, Any]]]:
        def make() -> tuple[Call, Mapping[str, Any]]:
            apart = grey_levels_apart(wanted, way(picture, landmarks, alignment, size))
            return lambda: way(picture, landmarks, alignment, size), {"grey_levels_apart": apart}

        return make

    contenders = [contender("edgeface", opened(align))]
    contenders += [contender(name, opened(way)) for name, way in ALIGNMENTS.items()]
    title = f"aligned crops of {len(landmarks)} face{'s' if len(landmarks) > 1 else ''} in 1280×720"
    settings = {"threads": 1, "faces": len(landmarks)}
    suite.cases.append(contest(benchmark, title, contenders, suite.seconds, settings))


def test_canvas(benchmark: BenchmarkFixture, suite: Suite) -> None:
    cv2.setNumThreads(1)
    picture = crowd(4, 2, 1920, 1080).picture
    fit = letterbox(1920, 1080, 640)
    wanted = fit_canvas(picture, fit)[: fit.height, : fit.width]

    def opened(way: Callable[..., np.ndarray]) -> Callable[[], tuple[Call, Mapping[str, Any]]]:
        def make() -> tuple[Call, Mapping[str, Any]]:
            apart = grey_levels_apart(wanted, way(picture, fit.width, fit.height))
            return lambda: way(picture, fit.width, fit.height), {"grey_levels_apart": apart}

        return make

    def own(picture: np.ndarray, width: int, height: int) -> np.ndarray:
        return fit_canvas(picture, fit)[:height, :width]

    contenders = [contender("edgeface", opened(own))]
    contenders += [contender(name, opened(way)) for name, way in CANVASES.items()]
    title = f"1920×1080 to the detector's {fit.width}×{fit.height}"
    suite.cases.append(contest(benchmark, title, contenders, suite.seconds, {"threads": 1}))
