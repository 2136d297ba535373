"""``edgeface demo``: everything once, on a clip made on the spot from two portraits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeface.cli import face_rows as faces
from edgeface.cli import options
from edgeface.cli.run_report import in_words
from edgeface.common.console import echo, progress, table

if TYPE_CHECKING:
    from edgeface.api import Face
    from edgeface.inference.result import FrameResult
    from edgeface.types import Image

EXAMPLE = "Example: edgeface demo --out demo-out"

_STILLS = 6
"""Frames of the clip on the contact sheet."""


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for everything that is written.")] = Path("demo-out"),
    model: options.Model = None,
    detector: options.Detector = None,
    threads: options.Threads = 0,
    device: options.Device = "auto",
    strict_device: options.StrictDevice = False,
) -> None:
    """Run the whole pipeline on a sample clip.

    The clip is made from two portraits. Writes clip.mp4, annotated.mp4, results.jsonl, contact.jpg and one
    annotated image a portrait.
    """
    from edgeface.imaging.image_io import write_image
    from edgeface.imaging.portraits import portraits
    from edgeface.inference.overlay import draw_faces
    from edgeface.pipeline import runner
    from edgeface.pipeline.demo_clip import make_demo_clip
    from edgeface.sinks.base import MemorySink
    from edgeface.sinks.open import open_sink
    from edgeface.sources.open import open_source
    from edgeface.tracking.iou import IouTracker

    with options.analyzer(model, detector, threads, None, 32, device, strict_device) as analyzer:
        make_demo_clip(out / "clip.mp4")
        kept = MemorySink()
        sinks = [open_sink(out / "annotated.mp4"), open_sink(out / "results.jsonl"), kept]
        with open_source(out / "clip.mp4") as clip, progress("frames") as report:
            summary = runner.run(clip, analyzer, IouTracker, sinks, on_progress=report)
        rows = [(f"clip, face {track}", *faces.row(face)) for track, face in people(kept.results)]
        pictures = stills(kept.results, _STILLS)
        for name, portrait in portraits().items():
            found = analyzer(portrait)
            rows += [(f"portrait {name}", *faces.row(face)) for face in found]
            pictures.append(draw_faces(portrait, found))
            write_image(out / f"{name}.jpg", pictures[-1])
    write_image(out / "contact.jpg", contact_sheet(pictures))
    table("", ("face", *faces.COLUMNS), rows)
    echo(in_words(summary))
    echo(f"wrote {', '.join(sorted(path.name for path in out.iterdir() if path.is_file()))} to {out}/")


def people(results: Sequence[FrameResult]) -> list[tuple[int, Face]]:
    """Every track with its typical face: means of the figures, the most frequent classes."""
    seen: dict[int, list[Face]] = defaultdict(list)
    for result in results:
        for face in result.faces:
            if face.track is not None:
                seen[face.track].append(face)
    return [(track, _typical(group)) for track, group in sorted(seen.items())]


def stills(results: Sequence[FrameResult], count: int) -> list[Image]:
    """Up to ``count`` annotated frames, evenly spread over the clip."""
    from edgeface.inference.overlay import draw_faces

    count = min(count, len(results))
    chosen = [results[(2 * number + 1) * len(results) // (2 * count)] for number in range(count)]
    return [draw_faces(result.frame.pixels, result.faces) for result in chosen]


def _typical(group: Sequence[Face]) -> Face:
    from dataclasses import replace

    from edgeface.types import HEADS

    def mean(name: str) -> float | None:
        values = [getattr(face, name) for face in group if getattr(face, name) is not None]
        return sum(values) / len(values) if values else None

    def most_frequent(name: str) -> str | None:
        found: str | None = Counter(getattr(face, name) for face in group).most_common(1)[0][0]
        return found

    return replace(
        group[0],
        score=mean("score") or 0.0,
        age=mean("age"),
        age_std=mean("age_std"),
        gender=most_frequent("gender"),
        gender_confidence=mean("gender_confidence"),
        race=most_frequent("race"),
        race_confidence=mean("race_confidence"),
        abstained=tuple(head for head in HEADS if 2 * sum(head in face.abstained for face in group) >= len(group)),
    )


def contact_sheet(pictures: Sequence[Image], cell: tuple[int, int] = (640, 360), columns: int = 2) -> Image:
    """Images side by side, each fitted into a ``cell`` of (width, height) pixels: uint8 ``[H, W, 3]`` RGB."""
    import numpy as np

    from edgeface.imaging.geometry import letterbox
    from edgeface.imaging.preprocess import fit_canvas

    width, height = cell
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height, columns * width, 3), 24, np.uint8)
    for number, picture in enumerate(pictures):
        longest = max(picture.shape[:2]) * min(width / picture.shape[1], height / picture.shape[0])
        fit = letterbox(picture.shape[1], picture.shape[0], int(longest), multiple=1, upscale=float("inf"))
        top = number // columns * height + (height - fit.height) // 2
        left = number % columns * width + (width - fit.width) // 2
        sheet[top : top + fit.height, left : left + fit.width] = fit_canvas(picture, fit)
    return sheet
