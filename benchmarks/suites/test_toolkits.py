"""A whole picture to ages and genders: ours against toolkits that install from the package index and run offline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.base import Call, contender
from benchmarks.peers.toolkits import TOOLKITS, Analyse, edgeface
from benchmarks.suites.contest import BenchmarkFixture, contest
from benchmarks.suites.faces import crowd
from benchmarks.suites.results import Suite


@pytest.mark.parametrize(("columns", "rows", "width", "height"), [(1, 1, 512, 512), (4, 2, 1280, 720)])
def test_toolkits(benchmark: BenchmarkFixture, suite: Suite, columns: int, rows: int, width: int, height: int) -> None:
    scene = crowd(columns, rows, width, height)

    def opened(open_toolkit: Callable[[], Analyse]) -> Callable[[], tuple[Call, Mapping[str, Any]]]:
        def make() -> tuple[Call, Mapping[str, Any]]:
            analyse = open_toolkit()
            found, others = scene.found(np.array([person.box for person in analyse(scene.picture)]))
            return lambda: analyse(scene.picture), {"found": found, "false_alarms": others}

        return make

    contenders = [contender("edgeface", opened(edgeface))]
    contenders += [contender(name, opened(make)) for name, make in TOOLKITS.items()]
    count = columns * rows
    title = f"{count} face{'s' if count > 1 else ''} in {width}×{height}, each toolkit's own threads"
    suite.cases.append(contest(benchmark, title, contenders, suite.seconds, {"faces": count}))
