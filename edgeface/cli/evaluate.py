"""``edgeface evaluate``: how good a model is on labelled faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeface.cli import options
from edgeface.common.console import log_line, progress, report_error, table, write_json

EXAMPLE = "Example: edgeface evaluate model.onnx --data UTKFace/ --folds 1 --json metrics.json"

_SHOWN_NAMES = 3
"""How many of the images left out are named; the JSON lists all."""
_FIGURES = {
    "n": ("faces", "d"),
    "missed_detections": ("missed by the detector", "d"),
    "age_mae": ("age: mean absolute error, years", ".2f"),
    "age_rmse": ("age: root mean squared error, years", ".2f"),
    "age_cs5": ("age: within five years", ".1%"),
    "age_interval_accuracy": ("age: interval hit", ".1%"),
    "age_interval_within1": ("age: interval hit or its neighbour", ".1%"),
    "gender_accuracy": ("gender: accuracy", ".1%"),
    "gender_f1": ("gender: F1", ".3f"),
    "race_accuracy": ("race: accuracy", ".1%"),
    "race_f1": ("race: macro F1", ".3f"),
}
_AXES = ("gender", "race", "age")


def evaluate(
    data: Annotated[
        list[Path],
        typer.Option(metavar="DIR-OR-ZIP", help="Labelled faces: a folder, a zip, or a folder of zips; repeatable."),
    ],
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Attribute network (.onnx; default: the shipped one; fairface: the one trained without UTKFace).",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="FairFace's label file; without it, names are UTKFace's labels.")
    ] = None,
    folds: Annotated[str, typer.Option(metavar="F", help="Folds to use: 1 or 0,1 or 2-9, or all.")] = "0,1",
    crops: Annotated[
        bool, typer.Option("--crops", help="No detector: the centre square of each image is the crop.")
    ] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all figures as JSON; - for stdout.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only N images, evenly spread.")] = None,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Faces per inference.")] = 64,
    detector: options.Detector = None,
    threads: options.Threads = 0,
) -> None:
    """Evaluate a model on labelled faces.

    Labels are UTKFace's file names, or a file in FairFace's form with --labels. Folds depend on names alone; 0 and
    1 are the test folds, which no shipped model was trained on.
    """
    from edgeface.cli.overwriting import refuse_overwriting_input
    from edgeface.common.files import sha256_file
    from edgeface.evaluation import datasets
    from edgeface.evaluation.evaluate import evaluate as judge
    from edgeface.evaluation.labelled_crops import thinned
    from edgeface.inference.detector import attribute_model

    refuse_overwriting_input([model, labels, detector, *data], json, suffixes=(".json",))
    wanted = datasets.parse_folds(folds)
    path = attribute_model(model)
    network = options.estimator(path, threads, batch)
    finder = None if crops else options.detector(detector, threads=1)
    found: Sequence[datasets.FaceSet] = datasets.find_faces(data, labels, wanted)
    with progress("evaluating") as report:
        result = judge(network, found if limit is None else thinned(found, limit), finder, batch, report)
    figures = {
        "model": path.name,
        "model_sha256": sha256_file(path),
        "folds": sorted(range(datasets.FOLDS) if wanted is None else wanted),
        "crops": "centre" if crops else "aligned",
        **result.to_dict(),
    }
    _report(figures, json)
    if result.unreadable:
        raise typer.Exit(1)


def _report(figures: dict[str, Any], json: Path | None) -> None:
    for fault in figures["unreadable"]:
        report_error(fault)
    skipped = figures["skipped"]
    if skipped:
        more = f" and {len(skipped) - _SHOWN_NAMES} more" if len(skipped) > _SHOWN_NAMES else ""
        log_line(f"skipped {len(skipped)} without a usable label: {'; '.join(skipped[:_SHOWN_NAMES])}{more}")
    if json is not None:
        write_json(json, figures)
    if str(json) != "-":
        _tables(figures)


def _tables(figures: dict[str, Any]) -> None:
    shown = {name: how for name, how in _FIGURES.items() if figures.get(name) is not None}
    if figures["crops"] == "centre":
        del shown["missed_detections"]
    title = f"{figures['model']}, folds {', '.join(map(str, figures['folds']))}"
    table(title, ("", "value"), [(text, format(figures[name], style)) for name, (text, style) in shown.items()])
    columns = [name for name in shown if name != "missed_detections"]
    rows = [
        (group, *(format(values[name], _FIGURES[name][1]) if values.get(name) is not None else "" for name in columns))
        for axis in _AXES
        for group, values in figures["groups"][axis].items()
    ]
    table("groups", ("", *(name.replace("_", " ") for name in columns)), rows)
