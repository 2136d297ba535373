"""``edgeface bench``: how fast model files are on this machine, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeface.cli import options
from edgeface.cli.overwriting import refuse_overwriting_input
from edgeface.common.console import echo, echo_json, log_line, progress, table, write_json
from edgeface.errors import ConfigError

if TYPE_CHECKING:
    from edgeface.bench.compare import Comparison
    from edgeface.bench.gpu_speed import GpuCost
    from edgeface.bench.model_speed import BenchReport, Speedup
    from edgeface.bench.pipeline_speed import PipelineReport
    from edgeface.pipeline.device import AnyAnalyzer

EXAMPLE = "Example: edgeface bench model.onnx model.int8.onnx --batch 1,8 --threads 1"


def bench(
    artefacts: Annotated[
        list[Path] | None, typer.Argument(metavar="ARTEFACT...", help="Model files; the first is the reference.")
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,N", help="Batch sizes.")] = "1,8,32",
    threads: Annotated[str, typer.Option(metavar="N,N", help="CPU threads of one inference; 0: all cores.")] = "1",
    seconds: Annotated[float, typer.Option(metavar="S", help="Time spent on each artefact at each setting.")] = 5.0,
    pipeline: Annotated[
        str | None,
        typer.Option(metavar="CLIP", help="Time the whole pipeline on a video instead; demo: the sample clip."),
    ] = None,
    model: options.Model = None,
    detector: options.Detector = None,
    device: options.Device = "auto",
    strict_device: options.StrictDevice = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write figures and rounds as JSON, for --compare.")
    ] = None,
    compare: Annotated[Path | None, typer.Option(metavar="OLD.json", help="Set against a saved bench.")] = None,
) -> None:
    """Time model files side by side, or the whole pipeline.

    Warm-up, then interleaved rounds: percentiles of a call, throughput, peak memory, and how many times as fast each
    is as the first, with the interval that the noise leaves. --pipeline: frames a second against decoding and the
    bare networks in the same run, each stage's share, how old a result is, and on a GPU every copy.
    """
    read = [*(artefacts or ()), pipeline, model, detector, compare]
    refuse_overwriting_input(read, save, suffixes=(".json",))
    if pipeline is not None:
        if artefacts or compare:
            raise ConfigError(
                "--pipeline times one clip: name models by --model and --detector, and leave --compare out"
            )
        opened = options.analyzer(model, detector, _numbers("threads", threads)[0], None, 32, device, strict_device)
        _pipeline(pipeline, opened, seconds, as_json, save)
        return
    from edgeface.bench.compare import compare_bench, read_bench
    from edgeface.bench.model_speed import bench as measure

    old = None if compare is None else read_bench(compare)
    with progress("timing") as report:
        result = measure(
            artefacts or [], _numbers("batch", batch), _numbers("threads", threads), seconds, progress=report
        )
    if save is not None:
        write_json(save, result.to_dict(rounds=True))
    comparison = None if old is None else compare_bench(old, result)
    if as_json:
        echo_json({**result.to_dict(), **({} if comparison is None else {"compared": comparison.to_dict()})})
        return
    _figures(result)
    if comparison is not None:
        _changes(comparison, str(compare))


def _pipeline(clip: str, opened: AnyAnalyzer, seconds: float, as_json: bool, save: Path | None) -> None:
    """Time ``clip`` and print or save the figures."""
    from edgeface.bench.pipeline_speed import bench_pipeline

    with opened as analyzer, progress("timing") as report:
        result = bench_pipeline(clip, analyzer, seconds, progress=report)
    if save is not None:
        write_json(save, result.to_dict())
    if as_json:
        echo_json(result.to_dict())
        return
    _stages(result)


def _stages(report: PipelineReport) -> None:
    width, height = report.size
    where = f"{report.clip} ({width}x{height}), {report.device}"
    rows = [(name, *(f"{laps[key]:.2f}" for key in ("mean", "p50", "p95"))) for name, laps in report.stages_ms.items()]
    table(where, ("stage", "mean ms", "p50 ms", "p95 ms"), rows)
    echo(f"{report.frames} frames, {report.faces} faces, {report.rounds} rounds: {report.fps:.1f} frames/s")
    if report.share is not None and report.floor_fps is not None:
        echo(
            f"decoding and bare networks: {report.floor_fps:.1f} frames/s; the pipeline keeps {_interval(report.share)}"
        )
    p50, p95, largest = report.age_ms
    echo(f"a frame's result is {p50:.1f} ms old at p50, {p95:.1f} at p95, {largest:.1f} at most")
    if report.gpu is not None:
        _gpu(report.gpu)
    if report.gpu_idle is not None:
        echo(f"the GPU had nothing to do {100 * report.gpu_idle:.0f} % of the time")
    for kind, cost in (report.copies or {}).items():
        echo(f"{kind.replace('_', ' ')} a frame: {cost['calls']:g} calls, {cost['bytes']:.0f} bytes")


def _gpu(cost: GpuCost) -> None:
    """What a frame costs on the GPU, against its floor."""
    rows = [
        (stage, f"{taken:.3f}", f"{cost.floor_ms[stage]:.3f}" if stage in cost.floor_ms else "")
        for stage, taken in cost.stages_ms.items()
    ]
    rows.append(("all", f"{cost.graph_ms:.3f}", f"{sum(cost.floor_ms.values()):.3f}"))
    table(f"on the GPU, a frame of {cost.faces} faces", ("stage", "p50 ms", "floor ms"), rows)
    echo(
        f"a launch and its wait: {cost.bare_ms:.3f} ms bare, {cost.call_ms:.3f} ms by the pipeline "
        f"({_interval(cost.overhead)} times), {cost.copied_ms:.3f} ms with the copy to pinned memory"
    )
    echo(f"pinned memory: {cost.upload_gb_s:.1f} GB/s up, {cost.download_gb_s:.1f} GB/s down")


def _numbers(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--{name} `{text}`: expected whole numbers as in 1 or 1,8,32") from None


def _figures(report: BenchReport) -> None:
    cpu = report.machine["cpu"]
    rows = []
    for row in report.rows:
        speedup = report.speedup(row)
        first = row is report.reference(row)
        rows.append(
            (
                Path(row.artefact).name,
                str(row.batch),
                str(row.threads),
                *(f"{value:.2f}" for value in row.calls_ms),
                f"{row.items_per_s:.0f}",
                "" if row.memory_mb is None else f"{row.memory_mb:.0f}",
                "reference" if first else _interval(speedup),
                "" if first else speedup.verdict,
            )
        )
    columns = ("", "batch", "threads", "p50 ms", "p90 ms", "p99 ms", "items/s", "MB", "times as fast", "verdict")
    table(f"{cpu['name']}, {cpu['usable_cores']} cores", columns, rows)


def _changes(comparison: Comparison, old: str) -> None:
    for difference in comparison.differences:
        log_line(f"another machine, so no verdict: {difference}")
    for name in comparison.unmatched:
        log_line(f"not in {old}: {name}")
    rows = [
        (
            change.artefact,
            str(change.batch),
            str(change.threads),
            _interval(change.speedup),
            "times" if change.yardstick is None else f"relative to {change.yardstick}",
            change.verdict,
        )
        for change in comparison.changes
    ]
    table(f"against {old}", ("", "batch", "threads", "times as fast", "compared", "verdict"), rows)


def _interval(speedup: Speedup) -> str:
    return f"{speedup.median:.2f} ({speedup.low:.2f}-{speedup.high:.2f})"
