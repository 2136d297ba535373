"""How good the shipped network is, what its 8-bit and 16-bit versions lose, what holds on video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.script import Results, Tables, markdown

_NAMES = {"cpu-x86": "x86 CPUs", "cpu-arm": "ARM CPUs", "tensorrt": "TensorRT"}
_UNITS = {"age": "y", "gender": "points", "race": "points"}
_SPEED_BATCH = 8
_FLAT = {"memory": "memory_mb flat", "threads": "threads flat", "files": "files flat"}


def quality(results: Mapping[str, Results]) -> Tables:
    """The table ``quality`` from ``edgeface evaluate`` on both data sets."""
    utkface, fairface = results["evaluate_utkface"], results["evaluate_fairface"]
    ages = (
        f"mean error {utkface['age_mae']:.2f} y, {percent(utkface['age_cs5'])} within 5 y",
        f"interval or its neighbour {percent(fairface['age_interval_within1'])}",
    )
    rows = [
        _quality("UTKFace, fold 1", ages[0], utkface, "`edgeface evaluate`"),
        _quality("FairFace, folds 0 and 1", ages[1], fairface, "`edgeface evaluate --labels`"),
    ]
    return {"quality": markdown(("", "age", "gender", "race (five classes)", "faces", "command"), rows)}


def _quality(name: str, age: str, figures: Results, command: str) -> tuple[str, ...]:
    missed = f"{figures['n']:,} ({figures['missed_detections']} not detected)"
    return name, age, percent(figures["gender_accuracy"]), percent(figures["race_accuracy"]), missed, command


def precision(results: Mapping[str, Results]) -> Tables:
    """The table ``precision`` from ``edgeface parity`` and ``edgeface bench``."""
    columns = ("artefact", "loss in age", "in gender", "in race", "answers that flip (gender / race)", "speed")
    speeds = {
        row["sha256"]: f"{row['speedup']['median']:.2f}× FP32"
        for row in results["bench_precision"]["rows"]
        if row["batch"] == _SPEED_BATCH
    }
    rows = [_precision(row, speeds.get(row["sha256"], "–")) for row in results["parity_attributes"]["candidates"]]
    return {"precision": markdown(columns, rows)}


def _precision(candidate: Mapping[str, Any], speed: str) -> tuple[str, ...]:
    kind, heads, changes = candidate["precision"], candidate["heads"], candidate["changes"]
    flavour = f" ({kind['flavour']})" if kind["flavour"] != kind["precision"] else ""
    name = f"{kind['precision'].upper()} for {_NAMES[kind['target']]}{flavour}"
    losses = [f"{interval(heads[head]['loss'])} {unit}" for head, unit in _UNITS.items()]
    return name, *losses, f"{percent(changes['gender']['flips'])} / {percent(changes['race']['flips'])}", speed


def video(results: Mapping[str, Results]) -> Tables:
    """The table ``video`` from four commands."""
    shares, fps = results["pipeline_efficiency"]["share_of_parts"], results["cpp_frames"]["median_ratio"]
    rows = [
        (_fusion_title(results["fusion"]), _fusion(results["fusion"]["figures"]), "studies.fusion_study"),
        (f"cameras that fail, for {results['soak']['minutes']:.0f} minutes", _soak(results["soak"]), "resources.soak"),
        (
            "the whole pipeline against the bare cost of its parts",
            f"{shares['run --per-frame'][0]:.2f} times their speed per frame, {shares['run'][0]:.2f} with fusion",
            "studies.pipeline_efficiency",
        ),
        (
            f"the C++ demo against `edgeface run --per-frame`, {results['cpp_frames']['threads']} thread",
            f"{fps:.2f} times the frames a second",
            "studies.cpp_frames",
        ),
    ]
    commands = [(*row[:2], f"`python -m benchmarks.{row[2]}`") for row in rows]
    return {"video": markdown(("what", "measured", "command"), commands)}


def fusion(results: Results) -> Tables:
    """The table ``fusion`` from ``python -m benchmarks.studies.fusion_study``: per frame against fused over a track."""
    figures = results["figures"]
    each, fused, abstained = figures["frame"], figures["fused"], figures["abstained"]
    sure = " / ".join(percent(1 - abstained[head]["error_given"]) for head in ("gender", "race"))
    accuracies = [f"{percent(f['gender_accuracy'])} / {percent(f['race_accuracy'])}" for f in (each, fused)]
    rows = [
        ("spread of the age within a track, years", f"{each['age_jitter']:.2f}", f"{fused['age_jitter']:.2f}"),
        ("flips of gender / race", *(f"{f['gender_flips']:,} / {f['race_flips']:,}" for f in (each, fused))),
        ("age MAE, years", f"{each['age_mae']:.2f}", f"{fused['age_mae']:.2f}"),
        ("gender / race accuracy", *accuracies),
        ("the same where it does not abstain", "", sure),
        ("faces that the network saw", "all", f"1 of {figures['calls_saved']:.1f}"),
    ]
    return {"fusion": markdown(("", "per frame", "fused"), rows)}


def _fusion_title(results: Results) -> str:
    people, fold = results["figures"]["people"], results["folds"]
    return f"answers fused over a track, against per frame (synthetic tracks of {people} faces of UTKFace fold {fold})"


def _fusion(figures: Mapping[str, Any]) -> str:
    frame, fused = figures["frame"], figures["fused"]
    return (
        f"age jitter {figures['jitter_ratio']:.1f} times lower, flips of gender {frame['gender_flips']:,} → "
        f"{fused['gender_flips']:,} and of race {frame['race_flips']:,} → {fused['race_flips']:,}, age error "
        f"{frame['age_mae']:.2f} → {fused['age_mae']:.2f} y, {figures['calls_saved']:.1f} times fewer inferences"
    )


def _soak(results: Results) -> str:
    faults, verdicts = results["faults"], results["verdicts"]
    recovered = faults["count"] - faults["unrecovered"]
    flat = [name for name in ("memory", "threads", "files") if verdicts[_FLAT[name]]]
    return (
        f"{recovered} of {faults['count']} faults recovered, the slowest {faults['worst_s']:.1f} s after the camera's "
        f"return; frame age p99 {results['age_ms']['p99']:.0f} ms; flat: {', '.join(flat) or 'nothing'}"
    )


def interval(loss: Mapping[str, float]) -> str:
    """A mean and its interval with signs; what rounds to nothing has a plus."""
    mean, low, high = (f"{round(loss[name], 2) + 0.0:+.2f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
