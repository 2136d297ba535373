"""The report page of ``edgeface parity``: tables, and charts of who loses what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from edgeface.bench.model_speed import BenchReport
from edgeface.common.html import document, table
from edgeface.parity.detector_parity import DetectorReport
from edgeface.parity.gate import Budget
from edgeface.parity.report import CandidateParity, ParityReport
from edgeface.parity.svg import Bar, bars, histogram
from edgeface.parity.text import tables

_LAYERS_SHOWN = 30


def page(report: ParityReport | DetectorReport, failures: Sequence[str], budget: Budget | None = None) -> str:
    """The whole page as text. ``failures`` are the gate's sentences, ``budget`` draws its bounds."""
    title = f"Parity with {Path(report.reference).name}"
    parts = [_gate(failures), _facts(report)]
    parts += [table(item) for item in tables(report)]
    if isinstance(report, ParityReport):
        for candidate in report.candidates:
            parts += _candidate(candidate, budget or Budget())
    if report.bench is not None:
        parts += _latency(report.bench)
    return document(title, parts)


def _gate(failures: Sequence[str]) -> str:
    if not failures:
        return '<p class="passed">The gate is passed: every candidate keeps its budget.</p>'
    items = "".join(f"<li>{escape(fault)}</li>" for fault in failures)
    return f'<p class="failed">The gate is not passed.</p><ul class="failed">{items}</ul>'


def _facts(report: ParityReport | DetectorReport) -> str:
    cpu = report.machine.get("cpu", {})
    machine = f"{cpu.get('name')}, {cpu.get('usable_cores')} cores, ONNX Runtime {report.machine.get('onnxruntime')}"
    judged = f"{report.faces} faces"
    if isinstance(report, ParityReport):
        judged += f", {report.missed_detections} of them cut as centre squares because no face was found"
    else:
        judged += f" in {report.pictures} images"
    made = f"{report.machine.get('date')}, edgeface {report.machine.get('edgeface')}"
    return f'<p class="note">{escape(f"{judged}. {machine}. {made}.")}</p>'


def _candidate(candidate: CandidateParity, budget: Budget) -> Iterator[str]:
    yield f"<h2>{escape(Path(candidate.path).name)}: who loses what</h2>"
    yield (
        '<p class="note">Bars to the right: the candidate is worse. Whiskers: 95 % bootstrap intervals. A bar is red '
        "where the whole interval lies beyond the dashed bound.</p>"
    )
    for head in dict.fromkeys(group.head for group in candidate.groups):
        groups = [group for group in candidate.groups if group.head == head]
        bound = budget.group_age_years if groups[0].unit == "years" else budget.group_points
        rows = [
            Bar(
                group.group,
                group.loss.mean,
                (group.loss.low, group.loss.high),
                f"{group.loss.n} faces",
                group.loss.low > bound,
            )
            for group in groups
        ]
        yield f"<h3>{escape(head.replace('_', ' '))}: loss in {groups[0].unit}</h3>"
        yield bars(rows, groups[0].unit, bound)
    if candidate.changes:
        yield "<h3>age: by how many years an answer moves (faces, logarithmic)</h3>"
        yield histogram(*candidate.age_changes_years, "years, candidate less reference")
    yield from _sensitivity(candidate.precision or {})


def _sensitivity(precision: Mapping[str, Any]) -> Iterator[str]:
    """What each layer cost when it alone was quantised, where a search has measured it."""
    losses = (precision.get("search") or {}).get("sensitivity") or {}
    kept = set(precision.get("keep_float") or ())
    rows = [
        Bar(layer, float(loss), note="kept in float" if layer in kept else "")
        for layer, loss in sorted(losses.items(), key=lambda item: -item[1])[:_LAYERS_SHOWN]
    ]
    if rows:
        yield "<h3>layer sensitivity: share of the budget used when only this layer is quantised</h3>"
        yield bars(rows, "share of the budget", 1.0)


def _latency(bench: BenchReport) -> Iterator[str]:
    first = bench.rows[0]
    rows = [
        Bar(
            Path(row.artefact).name, row.calls_ms[0], (row.calls_ms[0], row.calls_ms[1]), f"{row.items_per_s:.0f} per s"
        )
        for row in bench.rows
    ]
    yield "<h2>Latency, side by side</h2>"
    yield (
        f'<p class="note">One call of batch {first.batch} on {first.threads} thread: median, whisker to the 90th '
        "percentile; throughput at the right.</p>"
    )
    yield bars(rows, "ms")
