"""How fast artefacts are, side by side on this machine: the figures of ``edgeface bench``.

Artefacts are timed in interleaved rounds, so that a busy or throttled machine slows all of them alike, and compared
round by round by each round's fastest call: what interrupts a call can only lengthen it. A round's length is fixed in
time; every second round runs in reverse order. Percentiles and throughput are of all calls, interrupted ones included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeface.common.files import sha256_file
from edgeface.common.machine import fingerprint
from edgeface.errors import ConfigError
from edgeface.runtime.base import Backend, Feed, TensorInfo
from edgeface.runtime.open import open_backend

Progress = Callable[[int, int], None]
"""Called with the number of settings done and the number of all."""
Samples = NDArray[np.float64]

CANVAS = (480, 640)
"""Height and width in pixels of the image that a detector of free input size is timed with."""
CONFIDENCE = 0.95
_RESAMPLES = 2000
_WORTH_NAMING = 0.02
"""Two runs of one file differ by less; where the interval is narrower, it is still no difference."""
_BLOCKS = 20
_MIN_ROUNDS = 5
_WARM_UP_S = 0.3
_ROUND_S = 0.05


class Speedup(NamedTuple):
    """How many times as fast as the reference: the median over rounds and its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "faster" or "slower" where the interval excludes 1 and the difference is worth the word."""
        if self.low > 1 and self.median >= 1 + _WORTH_NAMING:
            return "faster"
        return "slower" if self.high < 1 and self.median <= 1 - _WORTH_NAMING else "no difference beyond noise"


@dataclass(frozen=True, eq=False)
class BenchRow:
    """One artefact at one batch size and thread count.

    ``calls_ms`` are p50, p90 and p99 of the single calls; ``rounds_ms`` float64 ``[R]`` is the fastest call of each
    round, the same rounds as those of every other artefact at this setting; ``items_per_s`` are faces or images a
    second, one call after the other; ``memory_mb`` is the peak of a process that opens the artefact and runs it
    (``None``: not measured).
    """

    artefact: str
    sha256: str
    device: str
    batch: int
    threads: int
    calls: int
    calls_ms: tuple[float, float, float]
    rounds_ms: Samples
    items_per_s: float
    memory_mb: float | None = None

    @property
    def setting(self) -> tuple[int, int]:
        return self.batch, self.threads

    def to_dict(self) -> dict[str, Any]:
        p50, p90, p99 = (round(value, 4) for value in self.calls_ms)
        return {
            "artefact": self.artefact,
            "sha256": self.sha256,
            "device": self.device,
            "batch": self.batch,
            "threads": self.threads,
            "calls": self.calls,
            "rounds": len(self.rounds_ms),
            "p50_ms": p50,
            "p90_ms": p90,
            "p99_ms": p99,
            "items_per_s": round(self.items_per_s, 2),
            "memory_mb": self.memory_mb,
        }


@dataclass(frozen=True, eq=False)
class BenchReport:
    """Rows of all artefacts at all settings; the first artefact is the reference of every ``speedup``."""

    rows: tuple[BenchRow, ...]
    machine: dict[str, Any]

    def reference(self, row: BenchRow) -> BenchRow:
        """The first artefact's row at the setting of ``row``."""
        return next(first for first in self.rows if first.setting == row.setting)

    def speedup(self, row: BenchRow) -> Speedup:
        """How many times as fast ``row`` is as the first artefact in the same rounds."""
        return paired_speedup(self.reference(row).rounds_ms, row.rounds_ms)

    def to_dict(self, rounds: bool = False) -> dict[str, Any]:
        """For JSON. ``rounds`` adds every round's fastest call, which a later comparison needs."""
        return {"rows": [self._row(row, rounds) for row in self.rows], "machine": self.machine}

    def _row(self, row: BenchRow, rounds: bool) -> dict[str, Any]:
        speedup = self.speedup(row)
        figures = {name: round(value, 3) for name, value in speedup._asdict().items()}
        out = {**row.to_dict(), "speedup": {**figures, "verdict": speedup.verdict}}
        return {**out, "rounds_ms": [round(value, 4) for value in row.rounds_ms.tolist()]} if rounds else out


def bench(
    artefacts: Sequence[str | os.PathLike[str]],
    batches: Sequence[int] = (1, 8, 32),
    threads: Sequence[int] = (1,),
    seconds: float = 5.0,
    memory: bool = True,
    progress: Progress | None = None,
) -> BenchReport:
    """Time ``artefacts`` side by side at every batch size and thread count.

    ``seconds`` is spent on each artefact at each setting, after a warm-up. Inputs are noise. Raises what opening an
    artefact raises, and ``ConfigError`` for a setting that is out of range or that an artefact cannot follow.
    """
    paths = [Path(artefact) for artefact in artefacts]
    _check(paths, batches, threads, seconds)
    settings = [(batch, count) for count in threads for batch in batches]
    rows: list[BenchRow] = []
    for done, (batch, count) in enumerate(settings):
        if progress:
            progress(done, len(settings))
        rows += _rows_of(paths, batch, count, seconds, memory)
    if progress:
        progress(len(settings), len(settings))
    return BenchReport(tuple(rows), fingerprint())


def paired_speedup(reference_ms: Samples, other_ms: Samples, seed: int = 0) -> Speedup:
    """Median of the rounds' ratios and its interval, from a bootstrap over blocks of neighbouring rounds.

    Blocks, since a machine's noise comes in spells: rounds next to each other are not independent (Kunsch, "The
    jackknife and the bootstrap for general stationary observations", 1989).
    """
    ratios = reference_ms / other_ms
    low, high = interval(np.median(block_resamples(ratios, seed), axis=1))
    return Speedup(float(np.median(ratios)), low, high)


def block_resamples(values: Samples, seed: int) -> Samples:
    """Resamples float64 ``[R, n]`` of a series, made of 20 to 39 blocks of neighbours; what is left over is dropped."""
    size = max(len(values) // _BLOCKS, 1)
    blocks = values[: len(values) // size * size].reshape(-1, size)
    picked = np.random.default_rng(seed).integers(0, len(blocks), (_RESAMPLES, len(blocks)))
    return np.asarray(blocks[picked].reshape(_RESAMPLES, -1))


def interval(statistics: Samples) -> tuple[float, float]:
    """The central 95 % of a bootstrap's statistics."""
    low, high = np.quantile(statistics, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def noise_feed(inputs: Sequence[TensorInfo], batch: int, where: str) -> Feed:
    """Random input of ``batch`` items; free sizes after the first are ``CANVAS``'s. Raises ``ConfigError``."""
    rng = np.random.default_rng(0)
    feed: dict[str, NDArray[Any]] = {}
    for info in inputs:
        if info.shape and info.shape[0] not in (None, batch):
            raise ConfigError(f"{where} takes batches of {info.shape[0]} only, found {batch}")
        free = iter([batch, *CANVAS])
        shape = [next(free, 1) if size is None or not axis else size for axis, size in enumerate(info.shape)]
        feed[info.name] = rng.integers(0, 256, shape).astype(info.dtype)
    return feed


def peak_memory_mb(path: Path, batch: int, threads: int) -> float | None:
    """Peak resident megabytes of a process of its own that opens the artefact and runs it; ``None`` if unknown."""
    code = "import sys; from edgeface.bench.model_speed import _probe; _probe(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(path), str(batch), str(threads)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    return json.loads(done.stdout) if done.returncode == 0 else None


def _probe(path: str, batch: str, threads: str) -> None:
    """Print this process's peak. From /proc: ``ru_maxrss`` would count the parent that this process was forked from."""
    with open_backend(path, int(threads)) as backend:
        feed = noise_feed(backend.inputs, int(batch), path)
        for _ in range(2):
            backend.infer(feed)
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        status = ""
    peaks = [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")]
    print(json.dumps(round(peaks[0], 1) if peaks else None))


def _check(paths: Sequence[Path], batches: Sequence[int], threads: Sequence[int], seconds: float) -> None:
    if not paths:
        raise ConfigError("no artefact to bench: name one or more model files")
    if not batches or min(batches) < 1:
        raise ConfigError(f"batch: expected 1 or more, found {', '.join(map(str, batches)) or 'nothing'}")
    if not threads or min(threads) < 0:
        raise ConfigError(f"threads: expected 0 (all cores) or more, found {', '.join(map(str, threads)) or 'nothing'}")
    if not seconds > 0:
        raise ConfigError(f"seconds: expected more than 0, found {seconds:g}")


def _rows_of(paths: Sequence[Path], batch: int, threads: int, seconds: float, memory: bool) -> list[BenchRow]:
    """All artefacts at one setting."""
    with ExitStack() as stack:
        backends = [stack.enter_context(open_backend(path, threads)) for path in paths]
        calls = [_caller(backend, noise_feed(backend.inputs, batch, f"`{p}`")) for backend, p in zip(backends, paths)]
        rounds = interleaved_ms(calls, seconds * len(calls))
        devices = [backend.device for backend in backends]
    return [
        _row(path, device, batch, threads, samples, peak_memory_mb(path, batch, threads) if memory else None)
        for path, device, samples in zip(paths, devices, rounds)
    ]


def _row(
    path: Path, device: str, batch: int, threads: int, rounds: Sequence[Samples], memory_mb: float | None
) -> BenchRow:
    calls = np.concatenate(rounds)
    p50, p90, p99 = (float(value) for value in np.percentile(calls, [50, 90, 99]))
    return BenchRow(
        artefact=str(path),
        sha256=sha256_file(path),
        device=device,
        batch=batch,
        threads=threads,
        calls=len(calls),
        calls_ms=(p50, p90, p99),
        rounds_ms=np.array([part.min() for part in rounds]),
        items_per_s=batch * 1e3 / float(calls.mean()),
        memory_mb=memory_mb,
    )


def _caller(backend: Backend, feed: Feed) -> Callable[[], object]:
    return lambda: backend.infer(feed)


class Interleaved:
    """Callables timed in turn, one round at a time; who goes first alternates.

    ``samples`` has for every callable its rounds, each the milliseconds of its calls. A round gives each callable
    about 50 ms, or a tenth of ``seconds`` where that is less; making this warms all of them up.
    """

    def __init__(self, calls: Sequence[Callable[[], object]], seconds: float) -> None:
        self._calls = calls
        self._repeats = [_warm_up(call, min(_WARM_UP_S, seconds), min(_ROUND_S, seconds / 10)) for call in calls]
        self._order = list(range(len(calls)))
        self.samples: list[list[Samples]] = [[] for _ in calls]

    def round(self) -> None:
        """Time every callable once more."""
        for number in self._order:
            call = self._calls[number]
            self.samples[number].append(np.array([_timed_ms(call) for _ in range(self._repeats[number])]))
        self._order.reverse()


def interleaved_ms(calls: Sequence[Callable[[], object]], seconds: float) -> list[list[Samples]]:
    """Milliseconds of each call: for every callable its rounds, as many as fit into ``seconds`` and at least five."""
    timed = Interleaved(calls, seconds)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(timed.samples[0]) < _MIN_ROUNDS:
        timed.round()
    return timed.samples


def _warm_up(call: Callable[[], object], seconds: float, round_s: float) -> int:
    """Run ``call`` until caches, clocks and thread pools have settled; return how often it fits into a round."""
    end = time.perf_counter() + seconds
    samples = [_timed_ms(call) for _ in range(3)]
    while time.perf_counter() < end:
        samples.append(_timed_ms(call))
    return max(1, int(round_s * 1e3 / float(np.median(samples))))


def _timed_ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3
