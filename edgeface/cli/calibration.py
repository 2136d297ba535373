"""``edgeface calibration``: drawing the images that give an int8 network its ranges, and verifying such a set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeface.cli import options
from edgeface.cli.overwriting import refuse_overwriting_input
from edgeface.common.console import echo, echo_json, log_line, progress, table

if TYPE_CHECKING:
    from edgeface.calibration import CalibrationSet, Coverage
    from edgeface.calibration.curve import RangeError
    from edgeface.evaluation.datasets import FaceSet

HELP = "Draw or verify a calibration set.\n\nIts images give an int8 network the ranges of its activations."

_UTKFACE = ("UTKFace, aligned and cropped (Zhang, Song, Qi, CVPR 2017)", "non-commercial research only; each image "
            "belongs to its owner; this file lists names and hashes, no images")  # fmt: skip
_FAIRFACE = ("FairFace (Kärkkäinen, Joo, WACV 2021)", "CC BY 4.0, photographs from YFCC-100M")

_PLOTS = (".png", ".svg", ".pdf")

Data = Annotated[
    list[Path],
    typer.Option(metavar="DIR-OR-ZIP", help="Labelled faces of all folds: folder, zip or folder of zips; repeatable."),
]
Labels = Annotated[
    Path | None, typer.Option(metavar="CSV", help="FairFace's label file; without it, names are UTKFace's labels.")
]
Curve = Annotated[bool, typer.Option(help="Show how the ranges converge as the set grows.")]
Plot = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw that curve (needs matplotlib).")]
Method = Annotated[str, typer.Option(metavar="M", help="Ranges of the curve: minmax, entropy or percentile.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def make(
    data: Data,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="SET.toml", help="The file to write.")],
    size: Annotated[int, typer.Option(min=1, metavar="N", help="Images in the set.")] = 512,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Another seed, another draw.")] = 1,
    folds: Annotated[str, typer.Option(metavar="F", help="Folds to draw from; 0, 1 and 2 are refused.")] = "3-9",
    labels: Labels = None,
    source: Annotated[str | None, typer.Option(metavar="TEXT", help="What the data are.")] = None,
    licence: Annotated[str | None, typer.Option(metavar="TEXT", help="Under which terms.")] = None,
    curve: Curve = True,
    plot: Plot = None,
    method: Method = "percentile",
    model: options.Model = None,
    detector: options.Detector = None,
    as_json: Json = False,
) -> None:
    """Draw a calibration set.

    As even over age bands, genders and races as the data allow, from training folds only, without images that look
    like one of the held-out folds. The file lists names and hashes.
    """
    from edgeface.calibration import check_set, draw, write_set
    from edgeface.evaluation import datasets

    read = [labels, model, detector, *data]
    refuse_overwriting_input(read, output, suffixes=(".toml",))
    refuse_overwriting_input([output, *read], plot, suffixes=_PLOTS)
    wanted = datasets.parse_folds(folds)
    found = datasets.find_faces(data, labels)
    known_source, known_licence = _UTKFACE if labels is None else _FAIRFACE
    with progress("looking at held-out images") as report:
        drawn = draw(
            found,
            size,
            seed,
            range(datasets.FOLDS) if wanted is None else wanted,
            name=output.stem,
            source=known_source if source is None else source,
            licence=known_licence if licence is None else licence,
            progress=report,
        )
    coverage = check_set(drawn, found)
    write_set(drawn, output)
    log_line(f"wrote {output} ({len(drawn.files)} images, digest {drawn.digest})")
    _report(drawn, coverage, _errors(curve, plot, drawn, found, model, detector, method), as_json)


def check(
    calibration: Annotated[Path, typer.Argument(metavar="SET.toml", help="The set to verify.", show_default=False)],
    data: Data,
    labels: Labels = None,
    curve: Curve = True,
    plot: Plot = None,
    method: Method = "percentile",
    model: options.Model = None,
    detector: options.Detector = None,
    as_json: Json = False,
) -> None:
    """Verify a calibration set.

    Every image is there, unchanged and whole; none is of a held-out fold, by its name or by what it shows. Exit
    code 1 where the set is not fit to calibrate with.
    """
    from edgeface.calibration import check_set, read_set
    from edgeface.evaluation import datasets

    refuse_overwriting_input([calibration, labels, model, detector, *data], plot, suffixes=_PLOTS)
    listed = read_set(calibration)
    found = datasets.find_faces(data, labels)
    with progress("looking at held-out images") as report:
        coverage = check_set(listed, found, progress=report)
    if not coverage.compared:
        log_line("the data have no held-out image: overlap was judged by names only")
    _report(listed, coverage, _errors(curve, plot, listed, found, model, detector, method), as_json)


COMMANDS = (
    (make, "Example: edgeface calibration make --data UTKFace/ --size 512 --seed 1 -o calibration/utkface-512.toml"),
    (check, "Example: edgeface calibration check calibration/utkface-512.toml --data UTKFace/"),
)


def _errors(
    curve: bool,
    plot: Path | None,
    calibration: CalibrationSet,
    data: Sequence[FaceSet],
    model: Path | None,
    detector: Path | None,
    method: str,
) -> list[RangeError]:
    """The curve's points; none where it is not wanted, or where no one asked for it and a package is missing."""
    from edgeface.calibration import calibration_crops
    from edgeface.calibration.curve import range_errors, write_curve
    from edgeface.common.files import cache_dir
    from edgeface.errors import MissingDependencyError
    from edgeface.inference.detector import attribute_model
    from edgeface.spec.metadata import model_spec

    if not (curve or plot):
        return []
    network = attribute_model(model)
    try:
        with options.reference_detector(detector) as finder, progress("cutting crops") as report:
            crops = calibration_crops(calibration, data, model_spec(network), finder, report)
        with progress("ranges") as report:
            errors = range_errors(network, calibration, crops, method, cache_dir(), report)
    except MissingDependencyError as error:
        if plot:
            raise
        log_line(f"no curve: {error}")
        return []
    if plot:
        write_curve(errors, plot, f"{network.name}, {calibration.name}, {method}")
    return errors


def _report(calibration: CalibrationSet, coverage: Coverage, errors: Sequence[RangeError], as_json: bool) -> None:
    if as_json:
        echo_json(
            {
                "name": calibration.name,
                "digest": calibration.digest,
                "folds": list(calibration.folds),
                "seed": calibration.seed,
                **coverage.to_dict(),
                "range_errors": [dataclasses.asdict(error) for error in errors],
            }
        )
        return
    _coverage_table(calibration, coverage)
    if errors:
        rows = [(str(error.size), f"{error.mean:.2%}", f"{error.worst:.2%}", error.tensor) for error in errors]
        table("range errors by number of images", ("pictures", "mean error", "worst", "of"), rows)
    echo(
        f"{calibration.name}: {coverage.size} images, digest {calibration.digest[:12]}, none of them held out "
        f"({coverage.compared} held-out images compared)"
    )


def _coverage_table(calibration: CalibrationSet, coverage: Coverage) -> None:
    from edgeface.evaluation.metrics import AGE_BANDS
    from edgeface.spec.model import GENDERS, RACES

    columns = [f"{gender} {race}" for gender in GENDERS for race in RACES]
    rows = [
        (
            band,
            *(_cell(coverage, f"{column} {band}") for column in columns),
            str(sum(coverage.files.get(f"{column} {band}", 0) for column in columns)),
        )
        for band in AGE_BANDS
    ]
    sums = [sum(coverage.files.get(f"{column} {band}", 0) for band in AGE_BANDS) for column in columns]
    rows.append(("all", *map(str, sums), str(coverage.size)))
    table(f"{calibration.name}: images per stratum (*: all there are)", ("", *columns, "all"), rows)


def _cell(coverage: Coverage, stratum: str) -> str:
    files, available = coverage.files.get(stratum, 0), coverage.available.get(stratum, 0)
    return f"{files}{'*' if files >= available else ''}"
