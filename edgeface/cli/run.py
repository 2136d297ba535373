"""``edgeface run``: the whole pipeline on a video or a folder of pictures."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeface.cli import options
from edgeface.cli.output import complain, keep_input, note, progress, say

if TYPE_CHECKING:
    from edgeface.pipeline.runner import RunSummary

EXAMPLE = "Example: edgeface run clip.mp4 --sink annotated.mp4 --sink faces.jsonl"

_STDOUT = "-"
_INTERRUPTED = 130


def run(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A video, a picture or a folder of pictures.")],
    sink: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URI", help="Where results go: x.mp4, x.jsonl, x.csv, a folder/, - for stdout; repeatable."
        ),
    ] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after N frames.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a frame on stdout, as with --sink -.")
    ] = False,
    model: options.Model = None,
    detector: options.Detector = None,
    threads: options.Threads = 0,
    score: options.Score = None,
    device: options.Device = "auto",
    strict_device: options.StrictDevice = False,
) -> None:
    """Find and follow the faces of a video.

    Every frame is answered, and the same person keeps a number. A video that breaks off is answered as far as it
    goes, with exit code 1. After Ctrl-C the sinks hold what was done.
    """
    from edgeface.pipeline import runner
    from edgeface.pipeline.sink import open_sink
    from edgeface.pipeline.source import open_source
    from edgeface.pipeline.track import IouTracker

    uris = dict.fromkeys([*(sink or ()), *([_STDOUT] if as_json else ())])
    for uri in uris:
        keep_input(Path(source), Path(uri))
    with ExitStack() as stack:
        frames = stack.enter_context(open_source(source))
        analyzer = stack.enter_context(options.analyzer(model, detector, threads, score, 32, device, strict_device))
        sinks = [stack.enter_context(open_sink(uri)) for uri in uris]
        report = stack.enter_context(progress("frames"))
        summary = runner.run(frames, analyzer, IouTracker(), sinks, max_frames, report)
    print_line = note if _STDOUT in uris else say
    print_line(in_words(summary))
    for uri in uris:
        if uri != _STDOUT and Path(uri).exists():
            print_line(f"wrote {uri}")
    for problem in summary.problems:
        complain(problem)
    if summary.interrupted:
        raise typer.Exit(_INTERRUPTED)
    if summary.problems:
        raise typer.Exit(1)


def in_words(summary: RunSummary) -> str:
    """What a run did, with its throughput and where the time went."""
    stages = ", ".join(f"{name} {laps['mean']:.1f}" for name, laps in summary.stages_ms.items())
    return (
        f"{summary.frames} frames, {summary.faces} faces, {summary.tracks} people in {summary.seconds:.1f} s: "
        f"{summary.fps:.1f} frames/s" + (f" (mean ms a frame: {stages})" if stages else "")
    )
