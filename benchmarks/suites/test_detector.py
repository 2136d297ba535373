"""Our face detector against others, on images of one and of eight faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import pytest

from benchmarks.peers.base import Call, contender
from benchmarks.peers.detectors import DETECTORS, Detect, ours
from benchmarks.suites.contest import BenchmarkFixture, contest
from benchmarks.suites.faces import crowd
from benchmarks.suites.results import Suite


@pytest.mark.parametrize(("columns", "rows", "width", "height"), [(1, 1, 512, 512), (4, 2, 1280, 720)])
def test_detectors(benchmark: BenchmarkFixture, suite: Suite, columns: int, rows: int, width: int, height: int) -> None:
    cv2.setNumThreads(1)
    scene = crowd(columns, rows, width, height)

    def opened(open_detector: Callable[[], Detect]) -> Callable[[], tuple[Call, Mapping[str, Any]]]:
        def make() -> tuple[Call, Mapping[str, Any]]:
            detect = open_detector()
            found, others = scene.found(detect(scene.picture))
            return lambda: detect(scene.picture), {"found": found, "false_alarms": others}

        return make

    contenders = [contender("edgeface", opened(ours))]
    contenders += [contender(name, opened(make)) for name, make in DETECTORS.items()]
    count = columns * rows
    title = f"{count} face{'s' if count > 1 else ''} in {width}×{height}, 1 thread"
    settings = {"threads": 1, "faces": count}
    suite.cases.append(contest(benchmark, title, contenders, suite.seconds, settings))
