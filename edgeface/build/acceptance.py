"""The gate of ``edgeface build-engine``: the engine against the float model, and the search where int8 misses.

The engine is judged on the faces of one fold; the search chooses on another, so that its choice is judged as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeface.bench.model_speed import bench
from edgeface.build.evaluators import Evaluator, evaluator_of, read_gate
from edgeface.build.request import ResolvedBuild, BuildRequest
from edgeface.build.steps import Reporter, calibrated, set_facts
from edgeface.evaluation.datasets import find_faces
from edgeface.parity.attribute_parity import LATENCY_BATCH

GATE_FOLD, SEARCH_FOLD = 1, 2
"""A test fold and the validation fold: nothing was trained or calibrated on either."""
_SEARCH_GOAL = 0.8
"""Share of the budget that a search may use up, since another fold judges its choice."""
_LATENCY_S = 2.0


def faces_digest(order: BuildRequest) -> str:
    """Hex sha256 over names and labels of the faces that a gate judges ``order`` by: a verdict holds for these only."""
    faces = [face for part in find_faces(order.data, order.labels, {GATE_FOLD}) for face in part.faces]
    lines = sorted(f"{face.name} {face.age} {face.interval} {face.gender} {face.race}\n" for face in faces)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class EvaluationResult:
    """What keeps an engine from passing, a sentence each; ``lossy`` where more layers in float might help."""

    failures: tuple[str, ...]
    lossy: bool
    figures: Mapping[str, Any] = field(default_factory=dict)


class Gate:
    """Judges engines and graphs of one job.

    An engine has to be faster than the float model, and than the engine ``fp16_baseline``, if there is one. Images that are
    needed more than once lie in ``folder``.
    """

    def __init__(self, job: ResolvedBuild, folder: Path, say: Reporter, fp16_baseline: Path | None = None) -> None:
        self._job, self._folder, self._say, self._fp16_baseline = job, folder, say, fp16_baseline
        self._judge: Evaluator = evaluator_of(job, folder, say)
        self._budget = read_gate(job.order)

    def judge(self, engine: Path) -> EvaluationResult:
        """The engine against the float model on ``GATE_FOLD``, answers and latency."""
        order = self._job.order
        verdict = self._judge(engine, GATE_FOLD, _LATENCY_S)
        figures = {
            "fold": GATE_FOLD,
            "faces_digest": faces_digest(order),
            "limit": order.limit,
            "budget": asdict(self._budget),
            **verdict.figures,
        }
        figures["bench"] = [{**row, "artefact": Path(row["artefact"]).name} for row in figures["bench"] or ()]
        faults = [fault.replace(str(engine), order.out.name) for fault in verdict.failures]
        if self._fp16_baseline is not None:
            figures["speedup_over_fp16"], slow = self._against_rival(self._fp16_baseline, engine)
            faults += slow
        return EvaluationResult(tuple(faults), verdict.share > 1, figures)

    def _against_rival(self, fp16_baseline: Path, engine: Path) -> tuple[dict[str, Any], list[str]]:
        """The speed-up over ``fp16_baseline``, and a sentence where there is none although the budget wants one."""
        timed = bench([fp16_baseline, engine], (LATENCY_BATCH,), (1,), _LATENCY_S, memory=False)
        speedup = timed.speedup(timed.rows[1])
        slow = (
            f"`{self._job.order.out.name}`: int8 is not faster than fp16 on this machine: {speedup.median:.2f} times "
            f"as fast (95 % interval {speedup.low:.2f} to {speedup.high:.2f}); build fp16"
        )
        fails = self._budget.latency and speedup.verdict != "faster"
        return {**speedup._asdict(), "verdict": speedup.verdict}, [slow] if fails else []

    def search(self) -> Path:
        """The int8 graph with the fewest, most sensitive layers in float that keeps the budget on ``SEARCH_FOLD``.

        One at least: all layers in 8 bits were just judged on ``GATE_FOLD``.
        """
        from edgeface.quantization.search import search
        from edgeface.quantization.quantize import quantize

        job = self._job
        ranges = calibrated(job, self._say)
        self._say.note("int8 misses its budget: looking for the layers to keep in float")
        found = search(
            job.order.model, ranges, self._loss, _SEARCH_GOAL, job.target, report=self._say.note, min_layers=1
        )
        out, facts = self._folder / "searched.onnx", set_facts(job)
        return quantize(
            job.order.model, out, "int8", job.target, ranges, found.keep_float, facts, search=found.to_dict()
        )

    def _loss(self, graph: Path) -> float:
        return self._judge(graph, SEARCH_FOLD, 0).share
