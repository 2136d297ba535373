"""Figures, table and plot of ``benchmarks.studies.fusion_study``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeface.common.files import atomic_path
from edgeface.spec.model import GENDERS, RACES
from edgeface.types import HEADS

TARGETS = (
    ("age jitter, times lower", "jitter_ratio", 5.0),
    ("gender flips, times fewer", "gender_flips_ratio", 10.0),
    ("race flips, times fewer", "race_flips_ratio", 10.0),
    ("looks of the network, times fewer", "calls_saved", 3.0),
)
"""What the figures are for: name, key, at least."""


@dataclass(frozen=True)
class Row:
    """One tracked face of one frame: ``(age, gender, race)`` in ``truth``, as answered per ``frame`` and ``fused``."""

    track: tuple[int, int]
    index: int
    truth: tuple[float, int, int]
    frame: tuple[float, int, int]
    fused: tuple[float, int, int]
    fused_std: float
    abstained: tuple[bool, ...]
    looked: bool


def figures(rows: list[Row]) -> dict[str, Any]:
    """Jitter, flips, errors and accuracies of both ways, ratios, and how abstaining sorts right from wrong."""
    found: dict[str, Any] = {"face_frames": len(rows), "tracks": len(by_track(rows))}
    for way in ("frame", "fused"):
        found[way] = _of_way(rows, way)
    frame, fused = found["frame"], found["fused"]
    found["jitter_ratio"] = _ratio(frame["age_jitter"], fused["age_jitter"])
    for name in HEADS[1:]:
        found[f"{name}_flips_ratio"] = _ratio(frame[f"{name}_flips"], fused[f"{name}_flips"])
    found["abstained"] = _abstaining(rows)
    errors = np.array([row.fused[0] - row.truth[0] for row in rows])
    found["age_z"] = float(np.sqrt(np.mean((errors / [row.fused_std for row in rows]) ** 2)))
    return found


def by_track(rows: list[Row]) -> dict[tuple[int, int], list[Row]]:
    """Rows of every track, in time."""
    tracks: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in rows:
        tracks[row.track].append(row)
    return dict(tracks)


def _of_way(rows: list[Row], way: str) -> dict[str, float]:
    tracks = [[getattr(row, way) for row in part] for part in by_track(rows).values()]
    errors = [abs(getattr(row, way)[0] - row.truth[0]) for row in rows]
    figures = {
        "age_jitter": float(np.mean([np.std([one[0] for one in part]) for part in tracks])),
        "age_mae": float(np.mean(errors)),
    }
    for place, name in ((1, "gender"), (2, "race")):
        flips = sum(a[place] != b[place] for part in tracks for a, b in zip(part, part[1:]))
        figures[f"{name}_flips"] = flips
        figures[f"{name}_accuracy"] = float(np.mean([getattr(row, way)[place] == row.truth[place] for row in rows]))
    return figures


def _ratio(before: float, after: float) -> float:
    """How many times less; where nothing is left, as if half a flip were."""
    return float(before / max(after, 0.5 if isinstance(after, int) else 1e-9))


def _abstaining(rows: list[Row]) -> dict[str, dict[str, float | None]]:
    """By head: the share of answers abstained from, and the error of those given and of the others."""
    table = {}
    for place, name in enumerate(HEADS):
        wrong = np.array([_wrong(row, place) for row in rows])
        unsure = np.array([row.abstained[place] for row in rows])
        error_if = {key: float(wrong[mask].mean()) if mask.any() else None for key, mask in _sides(unsure)}
        table[name] = {"share": float(unsure.mean()), **error_if}
    return table


def _sides(unsure: Any) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("error_given", ~unsure), ("error_abstained", unsure)


def _wrong(row: Row, place: int) -> float:
    if place == 0:
        return abs(row.fused[0] - row.truth[0])
    return float(row.fused[place] != row.truth[place])


def judged(found: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    """Every target: name, figure, what was asked for, met."""
    rows = [(name, found[key], least, found[key] >= least) for name, key, least in TARGETS]
    frame, fused = found["frame"], found["fused"]
    rows.append(("age MAE, years, at most", fused["age_mae"], frame["age_mae"], fused["age_mae"] <= frame["age_mae"]))
    for name in HEADS[1:]:
        key = f"{name}_accuracy"
        rows.append((f"{name} accuracy, at least", fused[key], frame[key], fused[key] >= frame[key]))
    return rows


def table(found: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{found['people']} people, {found['tracks']} tracks, {found['face_frames']} tracked faces"]
    lines += [f"{'':20}{'per frame':>12}{'fused':>12}"]
    for key in found["frame"]:
        lines.append(f"{key:20}{found['frame'][key]:>12.4g}{found['fused'][key]:>12.4g}")
    lines += [
        f"{name:36}{value:>9.3f}  (target {least:.4g}: {'met' if met else 'MISSED'})"
        for name, value, least, met in judged(found)
    ]
    for name, sides in found["abstained"].items():
        given, unsure = sides["error_given"], sides["error_abstained"]
        text = "none" if unsure is None else f"{unsure:.3f}"
        lines.append(f"{name} abstains from {sides['share']:.1%}: error {text} there, {given or 0:.3f} elsewhere")
    lines.append(f"error of the fused age in its own spreads (above 1 is falsely sure): {found['age_z']:.2f}")
    lines.append(f"changes of number: {found['number_switches']}; numbers given: {found['track_numbers']}")
    lines.append(f"cost a face, same run, ms: {found['cost_per_face']}")
    return "\n".join(lines)


def plot(rows: list[Row], path: Path, count: int = 6) -> None:
    """Age and classes over time of ``count`` tracks, those whose per-frame ages vary most at the even ranks."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tracks = sorted(by_track(rows).values(), key=lambda part: float(np.std([row.frame[0] for row in part])))
    chosen = [tracks[int(rank)] for rank in np.linspace(len(tracks) * 0.2, len(tracks) - 1, min(count, len(tracks)))]
    figure, axes = plt.subplots(len(chosen), 1, figsize=(9, 2.2 * len(chosen)), sharex=True, squeeze=False)
    for axis, part in zip(axes[:, 0], chosen):
        _draw(axis, part)
    axes[0, 0].legend(loc="upper right", fontsize=7, ncols=4)
    axes[-1, 0].set_xlabel("frame (25 a second)")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    plt.close(figure)


def _draw(axis: Any, part: list[Row]) -> None:
    """One track: ages on the axis, classes as words where they change."""
    at = [row.index for row in part]
    fused = np.array([row.fused[0] for row in part])
    std = np.array([row.fused_std for row in part])
    axis.plot(at, [row.frame[0] for row in part], ".", color="0.6", markersize=3, label="per frame")
    axis.fill_between(at, fused - std, fused + std, color="tab:blue", alpha=0.15, linewidth=0)
    axis.plot(at, fused, "-", color="tab:blue", label="fused, ± its spread")
    axis.axhline(part[0].truth[0], color="tab:green", linestyle="--", linewidth=1, label="true age")
    looks = [row for row in part if row.looked]
    axis.plot([row.index for row in looks], [row.fused[0] for row in looks], "|", color="tab:red", label="look")
    flips = [sum(a.frame[k] != b.frame[k] for a, b in zip(part, part[1:])) for k in (1, 2)]
    held = [sum(a.fused[k] != b.fused[k] for a, b in zip(part, part[1:])) for k in (1, 2)]
    last = part[-1]
    told = f"{GENDERS[last.fused[1]]}, {RACES[last.fused[2]]}"
    true = f"{GENDERS[last.truth[1]]}, {RACES[last.truth[2]]}"
    axis.set_title(
        f"says {told} (true: {true}); flips of gender {flips[0]} → {held[0]}, race {flips[1]} → {held[1]}", fontsize=8
    )
    axis.set_ylabel("age, years", fontsize=8)
    axis.margins(y=0.15)
