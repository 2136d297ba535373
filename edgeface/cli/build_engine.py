"""``edgeface build-engine``: an engine for this machine, judged, with its passport."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeface.common.console import echo, echo_json, log_line, progress

if TYPE_CHECKING:
    from edgeface.build.build import Built
    from edgeface.spec.recipe import Recipe

EXAMPLE = (
    "Example: edgeface build-engine model.onnx --target cpu --calibration calibration/utkface-512.toml --data UTKFace/"
)


def build_engine(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Float model (.onnx).", show_default=False)],
    recipe: Annotated[
        Path | None, typer.Option(metavar="TOML", help="Engine recipe; the options below override its keys.")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="T", help="cpu, cpu-x86, cpu-arm or tensorrt.")] = None,
    precision: Annotated[str | None, typer.Option(metavar="P", help="fp32, fp16 or int8.")] = None,
    max_batch: Annotated[int | None, typer.Option(metavar="N", help="Largest batch.")] = None,
    calibration: Annotated[Path | None, typer.Option(metavar="SET", help="Calibration set for int8.")] = None,
    method: Annotated[str | None, typer.Option(metavar="M", help="minmax, entropy or percentile.")] = None,
    workspace_mb: Annotated[int | None, typer.Option(metavar="MB", help="TensorRT's scratch memory.")] = None,
    dla: Annotated[int | None, typer.Option(metavar="N", help="DLA core of a Jetson.")] = None,
    compute_capability: Annotated[
        str | None, typer.Option(metavar="X.Y", help="Refuse GPUs of another generation.")
    ] = None,
    version_compatible: Annotated[
        bool | None, typer.Option("--version-compatible", help="Let later TensorRT releases load it.")
    ] = None,
    hardware_compatible: Annotated[
        str | None, typer.Option(metavar="L", help="none, ampere_plus or same_compute_capability.")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(metavar="DIR-OR-ZIP", help="Labelled faces to calibrate and evaluate on.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="FairFace's label file; without it, names are UTKFace's labels.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Output file (default: beside the model).")
    ] = None,
    gate: Annotated[Path | None, typer.Option(metavar="TOML", help="Gate file with budgets of your own.")] = None,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Do not evaluate the engine.")] = False,
    no_search: Annotated[bool, typer.Option("--no-search", help="Do not fall back to FP32 for any layer.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Fail if the same build is already running.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Evaluate on N faces only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the passport as one JSON object.")] = False,
) -> None:
    """Build an engine for this machine.

    Quantises where the recipe wants it, builds (TensorRT's engine on a GPU, the quantised ONNX file on a processor),
    judges it against MODEL on fold 1 of --data, and writes it with a passport beside it. Nothing is written where it
    loses more than its budget, and nothing is built again from the same inputs.
    """
    from edgeface.build.build import BuildRequest, build_engine
    from edgeface.cli.overwriting import refuse_overwriting_input

    read = [model, recipe, calibration, labels, gate, *(data or ())]
    refuse_overwriting_input(read, output, suffixes=(".onnx", ".engine"))
    changes = {
        "target": target,
        "precision": precision,
        "max_batch": max_batch,
        "calibration": calibration,
        "method": method,
        "workspace_mb": workspace_mb,
        "dla": dla,
        "compute_capability": compute_capability,
        "version_compatible": version_compatible,
        "hardware_compatible": hardware_compatible,
    }
    wanted = _recipe(recipe, {name: value for name, value in changes.items() if value is not None})
    order = BuildRequest(
        model,
        wanted,
        output or _beside(model, wanted),
        tuple(data or ()),
        labels,
        gate=False if no_gate else gate or True,
        search=not no_search,
        wait=not no_wait,
        limit=limit,
    )
    _say(build_engine(order, _Terminal()), as_json)


class _Terminal:
    """Says on stderr what a build is doing; a ``build.steps.Reporter``."""

    def note(self, text: str) -> None:
        log_line(text)

    def progress(self, label: str) -> AbstractContextManager[Callable[[int, int | None], None]]:
        return progress(label)


def _recipe(path: Path | None, changes: dict[str, Any]) -> Recipe:
    from edgeface.spec.recipe import Recipe, read_recipe

    return Recipe(**changes) if path is None else dataclasses.replace(read_recipe(path), **changes)


def _beside(model: Path, recipe: Recipe) -> Path:
    """``model.onnx`` becomes ``model.int8.onnx`` or ``model.int8.engine``."""
    from edgeface.common.files import ENGINE_SUFFIX

    suffix = ".onnx" if recipe.on_cpu else ENGINE_SUFFIX
    return model.with_name(f"{model.stem}.{recipe.precision}{suffix}")


def _say(built: Built, as_json: bool) -> None:
    passport, path = built.passport, built.path
    if as_json:
        echo_json({"path": str(path), "fresh": built.fresh, "passport": dataclasses.asdict(passport)})
        return
    if not built.fresh:
        echo(f"{path} is up to date")
        return
    gate = passport.gate
    verdict = str(gate["verdict"]) + (f" ({gate['why']})" if "why" in gate else "")
    echo(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB, sha256 {passport.engine_sha256}) and its passport")
    echo(f"gate: {verdict}")
