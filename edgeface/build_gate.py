"""The gate of ``edgeface build-engine``: the engine against the float model, and the search where int8 misses.

The engine is judged on the faces of one fold; the search chooses on another, so that its choice is judged as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeface.artifact import model_spec
from edgeface.bench import bench
from edgeface.build_order import Job, Order
from edgeface.build_steps import Reporter, calibrated, set_facts
from edgeface.datasets import find_faces
from edgeface.labelled import LabelledCrops, labelled_crops, thinned
from edgeface.parity import Budget, CandidateParity, compare, failures, read_budget
from edgeface.parity.attributes import LATENCY_BATCH
from edgeface.pipeline.detect import FaceDetector

GATE_FOLD, SEARCH_FOLD = 1, 2
"""A test fold and the validation fold: nothing was trained or calibrated on either."""
_SEARCH_GOAL = 0.8
"""Share of the budget that a search may use up, since another fold judges its choice."""
_LATENCY_S = 2.0


@dataclass(frozen=True)
class Judgement:
    """What keeps an engine from passing, a sentence each; ``lossy`` where more layers in float might help."""

    failures: tuple[str, ...]
    lossy: bool
    figures: Mapping[str, Any] = field(default_factory=dict)


def read_gate(order: Order) -> Budget:
    """The budget an order is judged by."""
    return read_budget(order.gate) if isinstance(order.gate, Path) else Budget()


@dataclass(frozen=True)
class Gate:
    """Judges engines and graphs of one job; crops are cut when first needed, and once.

    An engine has to be faster than the float model, and than the engine ``rival``, if there is one.
    """

    job: Job
    say: Reporter
    rival: Path | None = None

    @cached_property
    def budget(self) -> Budget:
        return read_gate(self.job.order)

    def judge(self, engine: Path) -> Judgement:
        """The engine against the float model on ``GATE_FOLD``, answers and latency."""
        order = self.job.order
        report = compare(
            order.model, [engine], self._crops[GATE_FOLD], latency_s=_LATENCY_S, group_faces=self.budget.group_faces
        )
        plain = report.to_dict()
        (candidate,) = plain["candidates"]
        kept = ("heads", "changes", "worst_group", "speedup", "simulated", "not_finite")
        figures = {
            "fold": GATE_FOLD,
            "faces": plain["faces"],
            "limit": order.limit,
            "budget": asdict(self.budget),
            **{name: candidate[name] for name in kept},
            "bench": [{**row, "artefact": Path(row["artefact"]).name} for row in plain["bench"] or ()],
        }
        faults = [fault.replace(str(engine), order.out.name) for fault in failures(report, self.budget)]
        if self.rival is not None:
            figures["speedup_over_fp16"], slow = self._against_rival(self.rival, engine)
            faults += slow
        return Judgement(tuple(faults), self._share(report.candidates[0]) > 1, figures)

    def _against_rival(self, rival: Path, engine: Path) -> tuple[dict[str, Any], list[str]]:
        """The speed-up over ``rival``, and a sentence where there is none although the budget wants one."""
        timed = bench([rival, engine], (LATENCY_BATCH,), (1,), _LATENCY_S, memory=False)
        speedup = timed.speedup(timed.rows[1])
        slow = (
            f"`{self.job.order.out.name}`: int8 is not faster than fp16 on this machine: {speedup.median:.2f} times as "
            f"fast (95 % interval {speedup.low:.2f} to {speedup.high:.2f}); build fp16"
        )
        fails = self.budget.latency and speedup.verdict != "faster"
        return {**speedup._asdict(), "verdict": speedup.verdict}, [slow] if fails else []

    def search(self, folder: Path) -> Path:
        """The int8 graph with the fewest, most sensitive layers in float that keeps the budget on ``SEARCH_FOLD``."""
        from edgeface.quantization.search import search
        from edgeface.quantize import quantize

        job = self.job
        ranges = calibrated(job, self.say)
        self.say.note("int8 misses its budget: looking for the layers to keep in float")
        found = search(job.order.model, ranges, self._loss, _SEARCH_GOAL, job.target, report=self.say.note)
        out, facts = folder / "graph.onnx", set_facts(job)
        return quantize(
            job.order.model, out, "int8", job.target, ranges, found.keep_float, facts, search=found.to_dict()
        )

    def _loss(self, graph: Path) -> float:
        crops = self._crops[SEARCH_FOLD]
        report = compare(self.job.order.model, [graph], crops, latency_s=0, group_faces=self.budget.group_faces)
        return self._share(report.candidates[0])

    def _share(self, candidate: CandidateParity) -> float:
        """How much of the tightest budget of answers is used up; more than 1 is too much."""
        return max(self._shares(candidate), default=0.0)

    def _shares(self, candidate: CandidateParity) -> Iterator[float]:
        budget = self.budget
        if candidate.not_finite:
            yield float("inf")
        for item in candidate.heads:
            yield _share(item.loss.mean, budget.age_mae_years if item.unit == "years" else budget.accuracy_points)
        for unit, allowed in (("points", budget.group_points), ("years", budget.group_age_years)):
            worst = candidate.worst(unit)
            if worst is not None:
                yield _share(worst.loss.low, allowed)

    @cached_property
    def _crops(self) -> _Crops:
        return _Crops(self.job, self.say)


class _Crops(dict[int, LabelledCrops]):
    """Fold → its crops, cut on first use."""

    def __init__(self, job: Job, say: Reporter) -> None:
        super().__init__()
        self._job, self._say = job, say

    def __missing__(self, fold: int) -> LabelledCrops:
        order = self._job.order
        faces = find_faces(order.data, order.labels, {fold})
        with FaceDetector(threads=1) as detector, self._say.progress(f"cutting crops of fold {fold}") as report:
            chosen = faces if order.limit is None else thinned(faces, order.limit)
            self[fold] = labelled_crops(chosen, model_spec(order.model), detector, report)
        return self[fold]


def _share(loss: float, allowed: float) -> float:
    if loss <= 0:
        return 0.0
    return loss / allowed if allowed > 0 else float("inf")
