"""The cost of one face: our network against those of other systems, all in ONNX Runtime FP32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.base import Call, Unavailable, contender
from benchmarks.peers.networks import HEAVY, NETWORKS
from benchmarks.suites.contest import BenchmarkFixture, contest
from benchmarks.suites.models import Artefacts
from benchmarks.suites.results import Suite
from edgeface.bench.model_speed import noise_feed
from edgeface.runtime.open import open_backend


def test_one_face(benchmark: BenchmarkFixture, suite: Suite, models: Artefacts, work: Path) -> None:
    def opened(name: str, write: Callable[[Path], Path]) -> Callable[[], tuple[Call, Mapping[str, Any]]]:
        def make() -> tuple[Call, Mapping[str, Any]]:
            if suite.quick and name in HEAVY:
                raise Unavailable("left out of a quick run")
            path = write(work / f"network-{len(list(work.glob('network-*.onnx')))}.onnx")
            backend = open_backend(path, threads=1)
            feed = noise_feed(backend.inputs, 1, name)
            return lambda: backend.infer(feed), {"megabytes": round(path.stat().st_size / 1e6, 1)}

        return make

    size = models.spec.input_size
    rows = [contender(f"edgeface at {size}", opened("edgeface", lambda _: models.fp32))]
    rows += [contender(name, opened(name, write)) for name, write in NETWORKS.items()]
    settings = {"batch": 1, "threads": 1}
    suite.cases.append(contest(benchmark, "one face, 1 thread, FP32", rows, suite.seconds, settings))
