"""Our ONNX file in other runtimes: their speed, and whether they give our answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.base import Call, Unavailable, contender
from benchmarks.peers.runtimes import RUNTIMES, Infer, Setting, onnx_runtime, openvino
from benchmarks.suites.contest import BenchmarkFixture, contest
from benchmarks.suites.faces import RealFaces, agreement
from benchmarks.suites.models import Artefacts
from benchmarks.suites.results import Suite

COMPILED = "PyTorch, torch.compile"


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (8, 1), (1, 2), (8, 2)])
def test_runtimes(
    benchmark: BenchmarkFixture,
    suite: Suite,
    models: Artefacts,
    faces: RealFaces,
    work: Path,
    batch: int,
    threads: int,
) -> None:
    wanted = models.answers(faces.crops)
    setting = Setting(models.fp32, batch, threads, work)

    def opened(make: Callable[[Setting], Infer], of: Setting) -> Callable[[], tuple[Call, Mapping[str, Any]]]:
        def open_and_compare() -> tuple[Call, Mapping[str, Any]]:
            if make is RUNTIMES[COMPILED] and (suite.quick or threads > 1):
                raise Unavailable("left out for time: every setting is compiled again")
            infer = make(of)
            answers = agreement(models.spec, wanted, in_batches(infer, faces.crops, batch))
            crops = np.ascontiguousarray(np.resize(faces.crops, (batch, *faces.crops.shape[1:])))
            return lambda: infer(crops), {"answers": answers}

        return open_and_compare

    int8 = setting._replace(model=models.int8)
    rows = [contender("ONNX Runtime", opened(onnx_runtime, setting))]
    rows += [contender(name, opened(make, setting)) for name, make in RUNTIMES.items()]
    rows += [contender(f"{name}, INT8", opened(make, int8)) for name, make in INT8_RUNTIMES.items()]
    title = f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}"
    settings = {"batch": batch, "threads": threads, "faces": faces.source}
    suite.cases.append(contest(benchmark, title, rows, suite.seconds, settings))


INT8_RUNTIMES: dict[str, Callable[[Setting], Infer]] = {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino}


def in_batches(infer: Infer, crops: np.ndarray, batch: int) -> dict[str, np.ndarray]:
    """Answers for all crops of a runtime that takes ``batch`` at a time; the last batch is filled up."""
    parts = []
    for start in range(0, len(crops), batch):
        part = crops[start : start + batch]
        full = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        parts.append({name: np.array(values)[: len(part)] for name, values in infer(full).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
