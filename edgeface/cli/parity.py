"""``edgeface parity``: whether other versions of a model still answer like it, for everybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeface.cli import options
from edgeface.common.console import echo, echo_json, log_line, progress, report_error, table, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeface.api import FaceDetector
    from edgeface.evaluation.datasets import FaceSet
    from edgeface.evaluation.labelled_crops import LabelledCrops
    from edgeface.parity import Budget, ParityReport
    from edgeface.parity.detector_parity import DetectorReport

EXAMPLE = "Example: edgeface parity model.onnx model.int8.onnx --data UTKFace/ --folds 1 --report parity/"


def parity(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Reference model.", show_default=False)],
    candidates: Annotated[
        list[Path], typer.Argument(metavar="CANDIDATE...", help="Other versions of it.", show_default=False)
    ],
    data: Annotated[
        list[Path],
        typer.Option(
            metavar="DIR-OR-ZIP",
            help="Labelled faces: a folder, a zip, or a folder of zips; for detectors images or videos. Repeatable.",
        ),
    ],
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="FairFace's label file; without it, names are UTKFace's labels.")
    ] = None,
    folds: Annotated[str, typer.Option(metavar="F", help="Folds to use: 1 or 0,1 or 2-9, or all.")] = "1",
    gate: Annotated[
        Path | None, typer.Option(metavar="TOML", help="Budget of losses; see benchmarks/gate.toml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures as JSON; - for stdout.")] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page with plots, parity.html, and parity.json there.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only N images, evenly spread.")] = None,
    latency: Annotated[bool, typer.Option(help="Time the models side by side.")] = True,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the bootstrap.")] = 0,
    crops: Annotated[
        bool, typer.Option("--crops", help="No detector: the centre square of each image is the crop.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Faces per inference.")] = 64,
    detector: options.Detector = None,
    threads: options.Threads = 0,
) -> None:
    """Compare candidates with a reference on the same crops.

    What each head and each group of people loses, with 95 % intervals, how many predictions flip, and which is faster.
    Exit code 1 where the gate's budget is broken, with a sentence that names what. Two face detectors are compared by
    the faces they find.
    """
    from edgeface.cli.overwriting import refuse_overwriting_input
    from edgeface.parity import Budget, compare, failures, read_budget
    from edgeface.parity.detector_parity import compare_detectors, detector_failures
    from edgeface.spec.metadata import onnx_metadata
    from edgeface.spec.model import MODEL_KEY

    read = [reference, *candidates, *data, labels, gate, detector]
    for written in (save, *((report / "parity.json", report / "parity.html") if report else ())):
        refuse_overwriting_input(read, written, suffixes=(".json", ".html"))
    budget = Budget() if gate is None else read_budget(gate)
    seconds = 2.0 if latency else 0.0
    result: ParityReport | DetectorReport
    if MODEL_KEY in onnx_metadata(reference):
        faces = _crops(reference, data, labels, folds, limit, None if crops else options.reference_detector(detector))
        with progress("comparing") as steps:
            result = compare(
                reference, candidates, faces, seed, seconds, budget.group_faces, batch, threads, progress=steps
            )
        faults = failures(result, budget)
    else:
        with progress("comparing") as steps:
            result = compare_detectors(reference, candidates, data, limit, seed, seconds, threads, progress=steps)
        faults = detector_failures(result, budget)
    _publish(result, faults, budget, as_json, save, report)
    if faults:
        raise typer.Exit(1)


def _crops(
    reference: Path, data: list[Path], labels: Path | None, folds: str, limit: int | None, finder: FaceDetector | None
) -> LabelledCrops:
    from edgeface.evaluation import datasets
    from edgeface.evaluation.labelled_crops import labelled_crops, thinned
    from edgeface.spec.metadata import model_spec

    found: Sequence[FaceSet] = datasets.find_faces(data, labels, datasets.parse_folds(folds))
    with progress("cutting crops") as report:
        chosen = found if limit is None else thinned(found, limit)
        crops = labelled_crops(chosen, model_spec(reference), finder, report)
    for fault in crops.unreadable:
        report_error(fault)
    return crops


def _publish(
    result: ParityReport | DetectorReport,
    faults: list[str],
    budget: Budget,
    as_json: bool,
    save: Path | None,
    report: Path | None,
) -> None:
    """Figures and verdict to wherever they are wanted; the sentences always go to stderr as well."""
    from edgeface.common.files import atomic_path
    from edgeface.parity.page import page
    from edgeface.parity.text import tables

    figures = {**result.to_dict(), "passed": not faults, "failures": faults}
    for path in (save, None if report is None else report / "parity.json"):
        if path is not None:
            write_json(path, figures)
    if report is not None:
        with atomic_path(report / "parity.html") as temporary:
            temporary.write_text(page(result, faults, budget), encoding="utf-8")
        log_line(f"wrote {report / 'parity.html'}")
    if as_json:
        echo_json(figures)
    elif str(save) != "-":
        for title, columns, rows in tables(result):
            table(title, columns, rows)
        echo("gate: passed" if not faults else "gate: failed")
    for fault in faults:
        report_error(fault)
