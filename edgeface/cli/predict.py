"""``edgeface predict``: the faces of images."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeface.cli import face_rows as faces
from edgeface.cli import options
from edgeface.cli.overwriting import refuse_overwriting_input
from edgeface.common.console import echo_json, log_line, report_error, table
from edgeface.errors import ConfigError, ImageError
from edgeface.spec.defaults import STILLS_MIN_FACE

if TYPE_CHECKING:
    from edgeface.api import AttributeEstimator
    from edgeface.inference.result import FrameResult
    from edgeface.pipeline.device import AnyAnalyzer
    from edgeface.types import Frame

EXAMPLE = "Example: edgeface predict photos/ portrait.jpg --json > faces.jsonl"


def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Images and folders of images.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an image on stdout.")] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one CSV row a face; - for stdout.")] = None,
    annotate: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the images with their faces drawn.")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write one image per face that shows which parts of it support each prediction."
        ),
    ] = None,
    crops: Annotated[
        bool, typer.Option("--crops", help="Each image is one face already cut out: its centre square, no detection.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Faces per inference.")] = 32,
    model: options.Model = None,
    detector: options.Detector = None,
    threads: options.Threads = 0,
    score: options.Score = None,
    min_face: options.MinFace = STILLS_MIN_FACE,
    device: options.Device = "auto",
    strict_device: options.StrictDevice = False,
) -> None:
    """Detect faces in images and estimate age, gender and race.

    An image that cannot be used is named on stderr, the others are processed, and the exit code is 1.
    """
    from edgeface.inference.result import image_dict

    read = [*paths, model, detector]
    for folder in (annotate, explain):
        refuse_overwriting_input(read, folder, folder=True)
    refuse_overwriting_input(read, csv, suffixes=(".csv",))
    if as_json and str(csv) == "-":
        raise ConfigError("--json and --csv - would both write to standard output, name a file for one of them")
    failures: list[ImageError] = []
    frames = _frames(paths, failures)
    rows: list[tuple[str, ...]] = []
    with ExitStack() as stack:
        sinks = _sinks(stack, csv, annotate)
        if explain is not None:
            sinks.append(stack.enter_context(_map_sink(explain, model, threads, crops)))
        settings = (model, detector, threads, score, batch, device, strict_device, min_face)
        results = (
            _crop_results(frames, stack.enter_context(options.estimator(model, threads, batch)))
            if crops
            else _results(frames, stack.enter_context(options.analyzer(*settings)))
        )
        for result in results:
            for sink in sinks:
                sink.append(result)
            if as_json:
                frame = result.frame
                echo_json(image_dict(frame.source, frame.width, frame.height, result.faces))
            elif str(csv) != "-":
                rows += _rows(result)  # only a table needs them all
    if rows:
        table("", ("picture", *faces.COLUMNS), rows)
    if failures:
        log_line(f"{len(failures)} of the inputs could not be used")
        raise typer.Exit(1)


def _frames(paths: Iterable[Path], failures: list[ImageError]) -> Iterator[Frame]:
    """The images of files and folders, decoded ahead; those that cannot be used are named and left out."""
    from edgeface.common.prefetch import read_ahead

    for found in read_ahead(_read, _files(paths)):
        if isinstance(found, ImageError):
            report_error(found)
            failures.append(found)
        else:
            yield found


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, int] | ImageError]:
    """Every image file and its number, and what is wrong with a path that has none, in order."""
    from edgeface.imaging.image_io import list_images
    from edgeface.sources.base import VIDEO_SUFFIXES
    from edgeface.sources.source_uri import local_path

    numbers = count()
    for path in paths:
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES and os.path.isfile(path):
                raise ImageError(f"`{path}` is a video, expected an image; use: edgeface run {shlex.quote(str(path))}")
            yield from zip(list_images(local_path(path) or path), numbers)
        except ImageError as error:
            yield error


def _read(file: tuple[Path, int] | ImageError) -> Frame | ImageError:
    from edgeface.common.names import shown_name
    from edgeface.imaging.image_io import read_image
    from edgeface.types import Frame

    if isinstance(file, ImageError):
        return file
    path, number = file
    try:
        return Frame(read_image(path), None, shown_name(path), number)
    except ImageError as error:
        return error


def _sinks(stack: ExitStack, csv: Path | None, annotate: Path | None) -> list[Any]:
    from edgeface.sinks.file_sinks import CsvSink, PictureSink, StdoutCsvSink

    sinks: list[Any] = []
    if csv is not None:
        sinks.append(stack.enter_context(StdoutCsvSink() if str(csv) == "-" else CsvSink(csv)))
    if annotate is not None:
        sinks.append(stack.enter_context(PictureSink(annotate)))
    return sinks


def _map_sink(folder: Path, model: Path | None, threads: int, whole: bool) -> Any:
    from edgeface.explain.sink import MapSink
    from edgeface.inference.detector import attribute_model

    return MapSink(folder, attribute_model(model), threads, whole)


def _results(frames: Iterable[Frame], analyzer: AnyAnalyzer) -> Iterator[FrameResult]:
    from edgeface.inference.result import FrameResult

    for frame in frames:
        yield FrameResult(frame, tuple(analyzer(frame.pixels)))


def _crop_results(frames: Iterator[Frame], estimator: AttributeEstimator) -> Iterator[FrameResult]:
    """One face an image: the whole of it, without landmarks; the centre square goes to the network."""
    import numpy as np

    from edgeface.imaging.preprocess import centre_crop, stack
    from edgeface.inference.result import FrameResult, faces_from
    from edgeface.types import Faces

    size = estimator.spec.input_size
    while part := list(islice(frames, estimator.batch)):
        answers = estimator.from_crops(stack([centre_crop(frame.pixels, size) for frame in part], size))
        for row, frame in enumerate(part):
            whole = Faces(
                np.array([[0, 0, frame.width, frame.height]], np.float32),
                np.ones(1, np.float32),
                np.full((1, 5, 2), np.nan, np.float32),
            )
            yield FrameResult(frame, tuple(faces_from(whole, answers[row], estimator.spec)))


def _rows(result: FrameResult) -> list[tuple[str, ...]]:
    if not result.faces:
        return [(result.frame.source, "no face", *[""] * (len(faces.COLUMNS) - 1))]
    return [(result.frame.source, *faces.row(face)) for face in result.faces]
