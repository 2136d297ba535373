"""``edgeface quantize``: a float model in 8 or 16 bits, in the form that a machine runs best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeface.common.console import echo, echo_json, progress
from edgeface.errors import ConfigError

if TYPE_CHECKING:
    from edgeface.calibration import CalibrationSet
    from edgeface.quantization.ranges import Ranges

EXAMPLE = (
    "Example: edgeface quantize model.onnx --precision int8 --calibration calibration/utkface-512.toml "
    "--data UTKFace/ -o model.int8.onnx"
)


def quantize(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Float model (.onnx).", show_default=False)],
    precision: Annotated[str, typer.Option(metavar="P", help="int8 or fp16.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.onnx", help="The file to write.")],
    target: Annotated[
        str, typer.Option(metavar="T", help="tensorrt, cpu-x86, cpu-arm, or auto: this machine's processor.")
    ] = "auto",
    calibration: Annotated[
        Path | None, typer.Option(metavar="SET.toml", help="Calibration set; int8 needs one.")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(metavar="DIR-OR-ZIP", help="Where the set's images are; repeatable.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="FairFace's label file; without it, names are UTKFace's labels.")
    ] = None,
    method: Annotated[str, typer.Option(metavar="M", help="Ranges: minmax, entropy or percentile.")] = "percentile",
    keep: Annotated[
        list[str] | None, typer.Option(metavar="NODE", help="A layer that stays in float; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Write a float model in 8 or 16 bits.

    Input, outputs and their meaning stay the same. Which integers a layer sees depends on the target: a file for
    another machine may be slow there, or wrong, and is then refused. edgeface parity says what it cost.
    """
    from edgeface.cli.overwriting import refuse_overwriting_input
    from edgeface.common.files import sha256_file
    from edgeface.quantization.quantize import quantize as write

    refuse_overwriting_input([model, calibration, labels, *(data or ())], output, suffixes=(".onnx",))
    ranges, origin = None, {}
    if precision == "int8":
        listed = _read_set(calibration)
        ranges = _ranges(model, listed, data, labels, method)
        origin = {"name": listed.name, "digest": listed.digest}
    write(model, output, precision, target, ranges, keep or (), origin)
    facts = _facts(output)
    if as_json:
        echo_json({"path": str(output), "sha256": sha256_file(output), **facts})
        return
    share = output.stat().st_size / model.stat().st_size
    where = f"{facts['flavour']} for {facts['target']}" if precision == "int8" else f"for {facts['target']}"
    echo(f"wrote {output} ({precision}, {where}, {output.stat().st_size / 1e6:.2f} MB, {share:.0%} of {model.name})")


def _read_set(calibration: Path | None) -> CalibrationSet:
    from edgeface.calibration import read_set

    if calibration is None:
        raise ConfigError("int8 needs images to calibrate with: name a set with --calibration and their --data")
    return read_set(calibration)


def _ranges(
    model: Path, listed: CalibrationSet, data: Sequence[Path] | None, labels: Path | None, method: str
) -> Ranges:
    """The model's ranges on the set's images, which have to be there."""
    from edgeface.calibration.feeds import calibration_ranges
    from edgeface.evaluation import datasets

    if not data:
        raise ConfigError(f"the images of calibration set `{listed.name}` are needed: say where with --data")
    with progress("calibrating") as report:
        return calibration_ranges(model, listed, datasets.find_faces(data, labels), method, report)


def _facts(output: Path) -> dict[str, object]:
    """What the written file says of itself."""
    import dataclasses

    from edgeface.spec.metadata import onnx_metadata
    from edgeface.spec.precision import precision_in

    written = precision_in(onnx_metadata(output))
    assert written is not None, "quantize records what it did"
    return dataclasses.asdict(written)
