"""The verbs that judge: ``evaluate``, ``calibrate`` and ``report models``. ``trainer.__main__`` mounts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeface.cli import options
from edgeface.common.console import echo
from edgeface.errors import ConfigError

if TYPE_CHECKING:
    from edgeface.evaluation.precropped import Detector
    from trainer.evaluation.evaluation_data import JudgedSet

Artefacts = Annotated[
    list[Path], typer.Argument(metavar="ARTEFACT…", help="Checkpoints (.pt), programs (.pt2), .onnx files, engines.")
]
_DATA = typer.Option(
    metavar="DIR|ZIP|CSV",
    help="Labelled faces, repeatable: UTKFace names, a folder with a labels.csv in FairFace's form, or a manifest.",
)
Data = Annotated[list[Path], _DATA]
OptionalData = Annotated[list[Path] | None, _DATA]
Labels = Annotated[Path | None, typer.Option(metavar="CSV", help="FairFace's label file for all of --data.")]
Folds = Annotated[str, typer.Option(metavar="F", help="Folds to judge on: 1 or 0,1 or 2-9, or all.")]
Crops = Annotated[bool, typer.Option("--crops", help="No detector: the centre square of each image is the crop.")]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Only N images a data set, evenly spread.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where checkpoints run.")]
Json = Annotated[Path | None, typer.Option(metavar="FILE", help="Write all figures as JSON; - for stdout.")]


def evaluate(
    artefacts: Artefacts,
    data: Data,
    labels: Labels = None,
    folds: Folds = "0,1",
    crops: Crops = False,
    limit: Limit = None,
    robust: Annotated[int, typer.Option(min=0, metavar="N", help="Judge robustness on N faces; 0: not.")] = 0,
    json: Json = None,
    detector: options.Detector = None,
    device: Device = "auto",
    threads: options.Threads = 0,
) -> None:
    """Judge artefacts on labelled faces, side by side: errors, classes, fairness, honesty, robustness."""
    from edgeface.common.console import table, write_json
    from trainer.reporting.tables import tables

    report = _judged(artefacts, data, labels, folds, crops, limit, robust, detector, device, threads)
    if json is not None:
        write_json(json, report)
    if str(json) != "-":
        for name, results in report["results"].items():
            first = next(tables(results))
            table(f"{name}, {report['data'][name]['n']} faces", first.columns, first.rows)


def report_models(
    artefacts: Artefacts,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the report.")],
    labels: Labels = None,
    folds: Folds = "0,1",
    crops: Crops = False,
    limit: Limit = None,
    robust: Annotated[int, typer.Option(min=0, metavar="N", help="Judge robustness on N faces; 0: not.")] = 500,
    detector: options.Detector = None,
    device: Device = "auto",
    threads: options.Threads = 0,
) -> None:
    """Write report.html, report.md and report.json on artefacts, side by side."""
    from trainer.reporting import write_report

    report = _judged(artefacts, data, labels, folds, crops, limit, robust, detector, device, threads)
    echo(write_report(report, out))


def calibrate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="last.pt of a run.")],
    data: OptionalData = None,
    like: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take this checkpoint's or .onnx's, as for a twin trained on all folds."),
    ] = None,
    labels: Labels = None,
    folds: Annotated[str, typer.Option(metavar="F", help="Folds to fit on, none of them trained on.")] = "2",
    race_floor: Annotated[
        float, typer.Option(min=0, max=1, metavar="X", help="Recall that every race is to reach; 0: as it is.")
    ] = 0.0,
    crops: Crops = False,
    limit: Limit = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Checkpoint to write; without it, in place.")
    ] = None,
    detector: options.Detector = None,
    device: Device = "auto",
) -> None:
    """Fit temperatures, the age interval's width and race odds on held-out faces, and keep them in the checkpoint.

    With --like as well as --data, on faces that both networks were trained on: that one's calibration, changed by as
    much as fits to the two differ. The age's temperature moves it within its distribution to where it errs by the
    fewest years. What is exported from it then answers calibrated. Prints the calibration and, of a fit, the figures
    before and after as JSON.
    """
    from edgeface.common.console import echo_json
    from edgeface.evaluation import datasets
    from trainer.evaluation.evaluation_data import find_sets
    from trainer.evaluation.recalibrate import adjust_calibration, recalibrate, take_calibration

    if like is None and not data:
        raise ConfigError("calibrate: expected --data with held-out faces or --like another network")
    out = out or checkpoint
    sets = find_sets(data, labels, datasets.parse_folds(folds), limit) if data else []
    if like is None:
        echo_json(recalibrate(checkpoint, sets, _finder(crops, detector), race_floor, out, device))
    elif sets:
        echo_json(adjust_calibration(checkpoint, like, sets, _finder(crops, detector), out, device))
    else:
        echo_json(take_calibration(checkpoint, like, out))


def _judged(
    artefacts: Sequence[Path],
    data: Sequence[Path],
    labels: Path | None,
    folds: str,
    crops: bool,
    limit: int | None,
    robust: int,
    detector: Path | None,
    device: str,
    threads: int,
) -> dict[str, Any]:
    """The report's values, as ``trainer.reporting.write_report`` takes them."""
    from edgeface.common.files import sha256_file
    from edgeface.evaluation import datasets
    from trainer.evaluation.artefacts import names_of, open_artefact
    from trainer.evaluation.evaluation_data import find_sets

    wanted = datasets.parse_folds(folds)
    models = {name: open_artefact(path, device, threads) for name, path in names_of(artefacts).items()}
    sets = find_sets(data, labels, wanted, limit)
    finder = _finder(crops, detector)
    facts = [
        {"name": name, "file": path.name, "sha256": sha256_file(path)} for name, path in names_of(artefacts).items()
    ]
    report: dict[str, Any] = {"models": facts, "data": {}, "results": {}}
    for item in sets:
        report["results"][item.name] = _on_set(models, item, finder, robust)
        about = item.about(next(iter(models.values())).spec, finder)
        folds_used = None if wanted is None else sorted(wanted)
        report["data"][item.name] = {**about, "folds": folds_used, "crops": "centre" if crops else "aligned"}
    return report


def _on_set(models: dict[str, Any], item: JudgedSet, finder: Detector | None, robust: int) -> dict[str, Any]:
    from edgeface.common.console import log_line, progress
    from trainer.evaluation.judge import judge

    results = {}
    for name, model in models.items():
        with progress(f"crops of {item.name}") as advance:
            cut = item.crops(model.spec, finder, advance)
        log_line(f"judging {name} on {len(cut)} faces of {item.name}")
        results[name] = judge(model, cut, robust)
    return results


def _finder(crops: bool, detector: Path | None) -> Detector | None:
    return None if crops else options.detector(detector, threads=1)
