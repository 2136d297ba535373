"""One case of a suite: ours and its peers in the same interleaved rounds, and what came of it.

The measurement is ``edgeface.bench.model_speed``'s. pytest-benchmark's fixture drives its rounds, so a round there is
one turn of every contender; the ratios come from the rounds themselves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from benchmarks.peers.base import Contender
from edgeface.bench.model_speed import Interleaved, Samples, paired_speedup

MIN_ROUNDS = 5


class BenchmarkFixture(Protocol):
    """What is used of pytest-benchmark's fixture."""

    extra_info: dict[str, Any]

    def pedantic(self, target: Callable[[], None], *, rounds: int, iterations: int) -> Any: ...


class Timed(Protocol):
    """Contenders that can be timed one more round; ``samples`` as ``Interleaved`` has them."""

    samples: list[list[Samples]]

    def round(self) -> None: ...


class SelfTimed:
    """Contenders that return the milliseconds they took by their own clock, as another process does."""

    def __init__(self, calls: Sequence[Callable[[], float]]) -> None:
        self._calls = calls
        self.samples: list[list[Samples]] = [[] for _ in calls]

    def round(self) -> None:
        for rounds, call in zip(self.samples, self._calls):
            rounds.append(np.array([call()]))


def contest(
    benchmark: BenchmarkFixture,
    title: str,
    contenders: Sequence[Contender],
    seconds: float,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Time all contenders that run, ``seconds`` each; the first is ours and has to run.

    Returns the case for the results file: a row a contender in their order, with ``ms`` of a call (the median over
    rounds of each round's fastest), ``cost`` (its time over ours, the median of the rounds' ratios and its 95 %
    interval) and a ``verdict`` on its speed against ours; or with the reason why it is ``absent``.
    """
    running = [row for row in contenders if row.call is not None]
    if not running or running[0] is not contenders[0]:
        raise RuntimeError(f"{title}: ours does not run ({contenders[0].reason})")
    timed = Interleaved([row.call for row in running if row.call], seconds * len(running))
    return _case(benchmark, title, contenders, timed, seconds, settings)


def self_timed_contest(
    benchmark: BenchmarkFixture,
    title: str,
    contenders: Sequence[tuple[str, Callable[[], float]]],
    seconds: float,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """``contest`` of contenders that return their own milliseconds."""
    rows = [Contender(name, call) for name, call in contenders]
    return _case(benchmark, title, rows, SelfTimed([call for _, call in contenders]), seconds, settings)


def _case(
    benchmark: BenchmarkFixture,
    title: str,
    contenders: Sequence[Contender],
    timed: Timed,
    seconds: float,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    start_s = time.perf_counter()
    timed.round()
    round_s = time.perf_counter() - start_s
    rounds = max(MIN_ROUNDS - 1, math.ceil(seconds * len(timed.samples) / round_s) - 1)
    benchmark.pedantic(timed.round, rounds=rounds, iterations=1)
    figures = iter(rows_of(timed.samples))
    rows = [
        {"name": row.name, **row.facts, **(next(figures) if row.call else {"absent": row.reason})} for row in contenders
    ]
    case = {"case": title, "settings": dict(settings), "rounds": len(timed.samples[0]), "rows": rows}
    benchmark.extra_info.update(case)
    return case


def rows_of(samples: Sequence[Sequence[Samples]]) -> list[dict[str, Any]]:
    """``ms``, ``cost`` and ``verdict`` of every contender from its rounds; the first is ours."""
    fastest = [np.array([part.min() for part in rounds]) for rounds in samples]
    return [_row(fastest[0], own) for own in fastest]


def _row(ours: Samples, own: Samples) -> dict[str, Any]:
    cost = paired_speedup(own, ours)
    return {
        "ms": _rounded(float(np.median(own))),
        "cost": {name: _rounded(value) for name, value in cost._asdict().items()},
        "verdict": paired_speedup(ours, own).verdict,
    }


def _rounded(value: float) -> float:
    """Four digits that count."""
    return float(f"{value:.4g}")
