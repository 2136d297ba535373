"""Today's bench against a saved one: faster, slower, or no difference beyond noise, and never silently across machines.

Two runs are not interleaved, so what the machine did in between counts as well. Where both runs have the same first
artefact, that artefact is the yardstick: speed-ups relative to it are compared. Otherwise times are, with an allowance.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeface.bench.model_speed import BenchReport, BenchRow, Samples, Speedup, block_resamples, interval
from edgeface.common.json_text import json_object
from edgeface.errors import ConfigError

RUN_TO_RUN_FRAC = 0.05
"""Times of the same file in two runs may differ by this much without meaning anything."""
OTHER_MACHINE = "not comparable"
_CPU_FACTS = ("name", "architecture", "features", "usable_cores")


@dataclass(frozen=True)
class Change:
    """How many times as fast a row is as in the older run; ``verdict`` "not comparable" across machines.

    ``yardstick`` names the artefact both were measured against; ``None`` where times were compared.
    """

    artefact: str
    batch: int
    threads: int
    speedup: Speedup
    yardstick: str | None
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        figures = {name: round(value, 3) for name, value in self.speedup._asdict().items()}
        out = {"artefact": self.artefact, "batch": self.batch, "threads": self.threads}
        return {**out, "speedup": figures, "yardstick": self.yardstick, "verdict": self.verdict}


@dataclass(frozen=True)
class Comparison:
    """Changes of the rows that both runs have, and in which facts the machines differ ("cpu: … then, … now")."""

    changes: tuple[Change, ...]
    differences: tuple[str, ...]
    unmatched: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "changes": [change.to_dict() for change in self.changes],
            "machine_differences": list(self.differences),
            "unmatched": list(self.unmatched),
        }


def read_bench(path: str | os.PathLike[str]) -> BenchReport:
    """A report that ``edgeface bench --save`` wrote. Raises ``ConfigError`` for any other file."""
    try:
        raw = json_object(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the saved bench `{path}`: {error.strerror or error}") from error
    except ValueError as error:
        what = "a saved bench" if "JSON object" in str(error) else "JSON"
        raise ConfigError(f"`{path}` is not {what}, expected a file of: edgeface bench --save ({error})") from error
    try:
        return BenchReport(tuple(_row(row) for row in raw["rows"]), dict(raw["machine"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"`{path}` is not a saved bench, expected a file of: edgeface bench --save") from error


def _row(raw: dict[str, Any]) -> BenchRow:
    rounds = np.array(raw["rounds_ms"], np.float64)
    if rounds.ndim != 1 or not rounds.size or not (rounds > 0).all():
        raise ValueError("no rounds")
    return BenchRow(
        artefact=str(raw["artefact"]),
        sha256=str(raw["sha256"]),
        device=str(raw["device"]),
        batch=int(raw["batch"]),
        threads=int(raw["threads"]),
        calls=int(raw["calls"]),
        calls_ms=(float(raw["p50_ms"]), float(raw["p90_ms"]), float(raw["p99_ms"])),
        rounds_ms=rounds,
        items_per_s=float(raw["items_per_s"]),
        memory_mb=raw["memory_mb"],
    )


def compare_bench(old: BenchReport, new: BenchReport) -> Comparison:
    """Every row of ``new`` against the row of ``old`` with the same file name, batch size and thread count."""
    facts_then, facts_now = _identity(old.machine), _identity(new.machine)
    differences = tuple(
        f"{name}: {facts_then[name]} then, {fact} now" for name, fact in facts_now.items() if fact != facts_then[name]
    )
    then = {_key(row): row for row in old.rows}
    changes = [_change(old, then[_key(row)], new, row, bool(differences)) for row in new.rows if _key(row) in then]
    unmatched = [
        f"{Path(r.artefact).name}, batch {r.batch}, threads {r.threads}" for r in new.rows if _key(r) not in then
    ]
    return Comparison(tuple(changes), differences, tuple(unmatched))


def _key(row: BenchRow) -> tuple[str, int, int]:
    return Path(row.artefact).name, row.batch, row.threads


def _change(old: BenchReport, before: BenchRow, new: BenchReport, now: BenchRow, elsewhere: bool) -> Change:
    first_then, first_now = old.reference(before), new.reference(now)
    relative = first_then.sha256 == first_now.sha256 and before is not first_then and now is not first_now
    if relative:
        speedup = _ratio(now.rounds_ms / first_now.rounds_ms, before.rounds_ms / first_then.rounds_ms, 0.0)
    else:
        speedup = _ratio(now.rounds_ms, before.rounds_ms, RUN_TO_RUN_FRAC)
    verdict = OTHER_MACHINE if elsewhere else speedup.verdict
    yardstick = Path(first_now.artefact).name if relative else None
    return Change(Path(now.artefact).name, now.batch, now.threads, speedup, yardstick, verdict)


def _ratio(now: Samples, before: Samples, allowance_frac: float) -> Speedup:
    """The older median over the newer one; its interval, widened on both sides by ``allowance_frac``."""
    medians = [np.median(block_resamples(values, seed), axis=1) for seed, values in enumerate((now, before))]
    low, high = interval(medians[1] / medians[0])
    ratio = float(np.median(before) / np.median(now))
    return Speedup(ratio, low / (1 + allowance_frac), high * (1 + allowance_frac))


def _identity(machine: dict[str, Any]) -> dict[str, str]:
    """What makes two machines different for a timing, as text; versions of software do not."""
    cpu = machine.get("cpu") or {}
    facts = {f"cpu {name.replace('_', ' ')}": cpu.get(name) for name in _CPU_FACTS}
    facts |= {name: machine.get(name) for name in ("gpu", "jetson")}
    return {name: ", ".join(fact) if isinstance(fact, list) else str(fact or "none") for name, fact in facts.items()}
