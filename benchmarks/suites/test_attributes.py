"""The shipped attribute network in FP32, FP16 and INT8, at every batch size and thread count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.base import Call, Contender, contender
from benchmarks.suites.contest import BenchmarkFixture, contest
from benchmarks.suites.faces import RealFaces, agreement
from benchmarks.suites.models import Artefacts
from benchmarks.suites.results import Suite
from edgeface.runtime.open import open_backend


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 8, 32])
def test_precisions(
    benchmark: BenchmarkFixture, suite: Suite, models: Artefacts, faces: RealFaces, batch: int, threads: int
) -> None:
    wanted = models.answers(faces.crops)

    def opened(path: Path) -> Callable[[], tuple[Call, dict[str, object]]]:
        def make() -> tuple[Call, dict[str, object]]:
            backend = open_backend(path, threads)
            name = backend.inputs[0].name
            crops = np.resize(faces.crops, (batch, *faces.crops.shape[1:]))
            answers = agreement(models.spec, wanted, backend.infer({name: faces.crops}))
            return lambda: backend.infer({name: crops}), {"answers": answers}

        return make

    rows: list[Contender] = [
        contender(name, opened(path))
        for name, path in (("FP32", models.fp32), ("INT8", models.int8), ("FP16", models.fp16))
    ]
    settings = {"batch": batch, "threads": threads, "calibrated_on": models.calibrated_on, "faces": faces.source}
    suite.cases.append(contest(benchmark, f"batch {batch}, {_threads(threads)}", rows, suite.seconds, settings))


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
