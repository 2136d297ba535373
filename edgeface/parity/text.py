"""A comparison as tables of text: what ``edgeface parity`` prints, and the tables of its page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from edgeface.bench.model_speed import Speedup
from edgeface.common.html import Table
from edgeface.parity.detector_parity import DetectorReport, Share
from edgeface.parity.report import CandidateParity, GroupLoss, ParityReport
from edgeface.parity.stats import Loss

WORST_SHOWN = 5


def tables(report: ParityReport | DetectorReport) -> list[Table]:
    """Everything a reader needs to follow the verdict."""
    return list(_detectors(report) if isinstance(report, DetectorReport) else _attributes(report))


def verdict(speedup: Speedup | None, simulated: bool, elsewhere: bool) -> str:
    """How fast a candidate is, for people."""
    if simulated:
        return "not timed: simulated in float, this machine cannot run it"
    if elsewhere:
        return "not timed: made for another kind of machine"
    if speedup is None:
        return "not timed"
    return f"{speedup.median:.2f} times as fast ({speedup.low:.2f} to {speedup.high:.2f}): {speedup.verdict}"


def _attributes(report: ParityReport) -> Iterator[Table]:
    for candidate in report.candidates:
        yield _heads(candidate, report)
        yield _worst(candidate, report)


def _heads(candidate: CandidateParity, report: ParityReport) -> Table:
    flips = {change.output: change.flips for change in candidate.changes}
    rows = [
        (
            f"{item.head.replace('_', ' ')}, {item.unit}",
            f"{item.reference:.2f}",
            f"{item.candidate:.2f}",
            _loss(item.loss),
            "" if flips.get(item.head) is None else f"{flips[item.head]:.2%}",
        )
        for item in candidate.heads
    ]
    rows += [
        (
            f"{change.output.replace('_', ' ')}: change of a face",
            "",
            "",
            _moved(change.p50, change.p99, change.largest),
            "",
        )
        for change in candidate.changes
    ]
    rows.append(("latency", "", "", verdict(candidate.speedup, candidate.simulated, candidate.elsewhere), ""))
    title = f"{Path(candidate.path).name} against {Path(report.reference).name}, {report.faces} faces"
    return Table(title, ("", "reference", "candidate", "loss (95 % interval)", "flips"), rows)


def _moved(p50: float, p99: float, largest: float) -> str:
    return f"p50 {p50:.3g}, p99 {p99:.3g}, largest {largest:.3g}"


def _worst(candidate: CandidateParity, report: ParityReport) -> Table:
    def sureness(group: GroupLoss) -> tuple[float, float]:
        return group.loss.low, group.loss.mean

    rows = []
    for unit in ("points", "years"):
        losses = sorted((group for group in candidate.groups if group.unit == unit), key=sureness, reverse=True)
        rows += [
            (f"{group.head.replace('_', ' ')}: {group.group}", unit, str(group.loss.n), _loss(group.loss))
            for group in losses[:WORST_SHOWN]
        ]
    judged = len({(group.axis, group.group) for group in candidate.groups})
    title = (
        f"worst of {judged} groups with {report.group_faces} faces or more "
        f"({report.small_groups} smaller ones are not judged)"
    )
    return Table(title, ("", "unit", "faces", "loss (95 % interval)"), rows)


def _loss(loss: Loss) -> str:
    return f"{loss.mean:+.2f} ({loss.low:+.2f} to {loss.high:+.2f})"


def _detectors(report: DetectorReport) -> Iterator[Table]:
    rows = [
        (
            Path(item.path).name,
            f"{item.missed}",
            f"{item.extra}",
            _share(item.recall),
            _share(item.precision),
            "" if math.isnan(item.drift_p50) else f"p50 {item.drift_p50:.3f}, p99 {item.drift_p99:.3f}",
            verdict(item.speedup, item.simulated, item.elsewhere),
        )
        for item in report.candidates
    ]
    title = f"against {Path(report.reference).name}: {report.faces} faces in {report.pictures} images"
    columns = ("", "missed", "extra", "recall", "precision", "landmark drift, eye distances", "latency")
    yield Table(title, columns, rows)


def _share(share: Share) -> str:
    return "" if math.isnan(share.fraction) else f"{share.fraction:.2%} ({share.low:.2%} to {share.high:.2%})"
