"""``edgeface run``: the whole pipeline on files, folders, cameras and streams."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeface.cli import live_options, options
from edgeface.cli.overwriting import refuse_overwriting_input, refuse_sharing
from edgeface.cli.run_report import in_words, stats_lines
from edgeface.common.console import echo, log_line, progress, report_error

if TYPE_CHECKING:
    from edgeface.pipeline.run_stats import RunSummary
    from edgeface.pipeline.runner import Analyzer
    from edgeface.tracking.fusion import Fuser
    from edgeface.tracking.iou import Tracker

EXAMPLE = "Example: edgeface run clip.mp4 --sink annotated.mp4 --sink faces.jsonl"

_STDOUT = "-"
_INTERRUPTED = 130


def run(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Videos, images, folders, globs, cameras (0, v4l2:/dev/video0, csi:0), gst:PIPELINE, "
            "streams (rtsp://, http://, udp://), synthetic:?size=640x360&fps=25&faces=2; "
            "#name=NAME at the end names one, ${VARIABLE} and ${file:PATH} keep a password off the command line.",
        ),
    ],
    sink: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URI",
            help="Where results go: x.mp4, x.jsonl, x.csv, a folder/, - for stdout, display:, http://:8090, rtsp://…, "
            "mqtt://…, webhook:…; repeatable.",
        ),
    ] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after N frames.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a frame on stdout, as with --sink -.")
    ] = False,
    per_frame: Annotated[
        bool,
        typer.Option("--per-frame", help="Report each frame by itself; otherwise a person's predictions are fused."),
    ] = False,
    stats: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Print a line of rates, ages and drops this often."),
    ] = None,
    stall: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help="Reconnect a live source after SECONDS without a frame."),
    ] = 5.0,
    give_up: Annotated[
        float,
        typer.Option(min=0.0, metavar="SECONDS", help="Stop reconnecting after SECONDS without a frame (0: never)."),
    ] = 300.0,
    rtsp_transport: Annotated[str, typer.Option(metavar="T", help="tcp or udp.")] = "tcp",
    decoder: Annotated[
        str,
        typer.Option(metavar="D", help="Video decoder: cpu, nvdec (an NVIDIA GPU's engine) or auto."),
    ] = "cpu",
    privacy: live_options.Privacy = False,
    privacy_k: live_options.PrivacyK = 5,
    privacy_interval: live_options.PrivacyInterval = 60.0,
    heads: live_options.Heads = None,
    blur: live_options.Blur = False,
    metrics: live_options.MetricsAt = None,
    log: live_options.LogFormat = "text",
    model: options.Model = None,
    detector: options.Detector = None,
    threads: options.Threads = 0,
    score: options.Score = None,
    min_face: options.MinFace = None,
    device: options.Device = "auto",
    strict_device: options.StrictDevice = False,
) -> None:
    """Find and follow the faces of videos and cameras.

    A file is analysed frame by frame, a camera always at its newest frame; a person keeps one track id. A source
    that breaks off is processed as far as it goes, with exit code 1. After Ctrl-C or SIGTERM the sinks hold what was
    done.
    """
    from edgeface.pipeline import runner
    from edgeface.pipeline.run_stats import RunStats
    from edgeface.sources.base import SourceOptions
    from edgeface.sources.open import open_sources

    uris = dict.fromkeys([*(sink or ()), *([_STDOUT] if as_json else ())])
    for uri in uris:
        refuse_overwriting_input([*source, model, detector], uri, folder=None)
    live = SourceOptions(
        open_s=stall, stall_s=stall, give_up_s=give_up or None, rtsp_transport=rtsp_transport, decoder=decoder
    )
    shown = live_options.privacy_options(privacy, privacy_k, privacy_interval, heads, blur)
    numbers = RunStats()
    with ExitStack() as stack:
        stack.enter_context(live_options.logging_events(log))
        sources = [stack.enter_context(opened) for opened in open_sources(source, live)]
        refuse_sharing(uris, sum(opened.live for opened in sources))
        analyzer = stack.enter_context(
            options.analyzer(model, detector, threads, score, 32, device, strict_device, min_face)
        )
        sinks = [stack.enter_context(opened) for opened in live_options.open_sinks(uris, shown)]
        if url := stack.enter_context(live_options.serving_metrics(metrics, numbers, sinks, privacy)):
            log_line(f"metrics at {url}")
        report = stack.enter_context(stats_lines(numbers, stats, privacy) if stats else progress("frames"))
        tracker, fuser = _followers(analyzer, per_frame)
        summary = runner.run(sources, analyzer, tracker, sinks, max_frames, report, fuser=fuser, stats=numbers)
    _tell(summary, list(uris), privacy)


def _followers(analyzer: Analyzer, per_frame: bool) -> tuple[Callable[[], Tracker], Callable[[], Fuser] | None]:
    """What makes a tracker and a fuser for each source; an analyzer of one pass on a GPU answers every face anyway."""
    from edgeface.gpu.analyzer import GpuAnalyzer
    from edgeface.tracking.fusion import FusionOptions, TrackFuser
    from edgeface.tracking.iou import IouTracker
    from edgeface.tracking.kalman import KalmanTracker

    if per_frame:
        return IouTracker, None
    fusion = FusionOptions(every_face=isinstance(analyzer, GpuAnalyzer))
    return KalmanTracker, lambda: TrackFuser(analyzer.spec, fusion)


def _tell(summary: RunSummary, uris: list[str], counts_only: bool) -> None:
    """Print what was done and what went wrong, and end with the exit code for it."""
    print_line = log_line if _STDOUT in uris else echo
    print_line(in_words(summary, counts_only))
    for uri in uris:
        if uri != _STDOUT and Path(uri).exists():
            print_line(f"wrote {uri}")
    for problem in summary.problems:
        report_error(problem)
    if summary.interrupted:
        raise typer.Exit(_INTERRUPTED)
    if summary.problems:
        raise typer.Exit(1)
