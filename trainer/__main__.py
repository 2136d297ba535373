"""``python -m trainer``: cut crops, train, judge, report, explain, and export the network of a recipe."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeface.common.console import echo, log_line, report_error
from edgeface.errors import EdgefaceError
from trainer.cli import commands
from trainer.cli import soft_label_commands as soft_commands
from trainer.config import load_config

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
report = typer.Typer(help="Write a report on data or on models.", no_args_is_help=True)

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="TOML recipe, as in trainer/recipes/.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; repeatable.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write into.")]


@app.command()
def crops(recipe: Recipe, settings: Set = None) -> None:
    """Cut the crops of a recipe's images into its cache."""
    from trainer.data.samples import load_samples
    from trainer.log import Log

    config = load_config(recipe, settings or ())
    with Log(Path(config.out), resume=True, board=False) as log, log.bar("crops") as advance:
        log.data(load_samples(config, advance), config)


@app.command()
def fit(
    recipe: Recipe,
    settings: Set = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a recipe; the last step writes model.pt2.

    On several GPUs or machines: torchrun --nproc-per-node N -m trainer fit RECIPE
    """
    from trainer.train import fit as run

    path = run(load_config(recipe, settings or ()), resume)
    if os.environ.get("RANK", "0") == "0":
        echo(path)


app.command()(soft_commands.embed)
app.command()(soft_commands.probe)


@app.command()
def program(
    recipe: Recipe,
    settings: Set = None,
    folds: Annotated[str, typer.Option(help="Folds whose metrics the model is to carry, as in 0,1.")] = "",
) -> None:
    """Write model.pt2 from the last checkpoint of a recipe's run."""
    from trainer.train import write_program

    echo(write_program(load_config(recipe, settings or ()), _folds(folds) if folds else ()))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="last.pt of a run, or its model.pt2.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL.onnx", help="The file to write.")],
) -> None:
    """Turn a checkpoint into ONNX, with proof that ONNX Runtime gives the same answers."""
    from trainer.train import export_checkpoint

    export_checkpoint(checkpoint, output)
    echo(output)


@app.command()
def average(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="last.pt of a run.")],
    other: Annotated[
        Path, typer.Option("--with", metavar="FILE", help="Checkpoint or .onnx that it went on from, or of a twin.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="CHECKPOINT", help="The file to write.")],
    share: Annotated[float, typer.Option(min=0, max=1, metavar="X", help="Parts of FILE in the mean.")] = 0.5,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the crops are, if not where the run had them.")
    ] = None,
) -> None:
    """Average the weights of a run and of what it went on from: often better on unseen faces than either."""
    from trainer.weight_averaging import average_runs

    echo(average_runs(checkpoint, other, share, output, cache))


@app.command()
def sweep(
    recipe: Recipe,
    over: Annotated[
        list[str], typer.Option("--over", metavar="KEY=V1,V2", help="Values to try; repeatable, all combinations run.")
    ],
    settings: Set = None,
    out: Out = Path("runs/sweep"),
) -> None:
    """Train a recipe with every combination of some settings; finished runs are kept, so a broken sweep goes on.

    A list needs brackets: --over 'widths=[16,32],[32,64]'. Writes sweep.json and sweep.md; prints the table.
    """
    from trainer.sweep import run_sweep

    echo(run_sweep(recipe, over, settings or (), out))


@app.command()
def explain(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="last.pt of a run.")],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE…", help="Images with faces.")],
    out: Out = Path("explained"),
    whole: Annotated[bool, typer.Option("--crops", help="The images are crops of faces already.")] = False,
) -> None:
    """Draw which places of a face speak for each answer."""
    from trainer.explain import explain_pictures

    for path in explain_pictures(checkpoint, pictures, out, whole):
        echo(path)


@report.command("data")
def report_data(
    recipe: Recipe,
    settings: Set = None,
    out: Out = Path("runs/data-report"),
    model: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="A trained network whose disagreements are shown.")
    ] = None,
) -> None:
    """Look a recipe's data over: malformed, unreadable and duplicate images, odd labels, numbers of each class."""
    from trainer.data_report.write_report import write_data_report

    echo(write_data_report(load_config(recipe, settings or ()), out, model))


report.command("models")(commands.report_models)
app.command()(commands.evaluate)
app.command()(commands.calibrate)
app.add_typer(report, name="report")


def _folds(text: str) -> frozenset[int]:
    from edgeface.evaluation.datasets import FOLDS, parse_folds

    return parse_folds(text) or frozenset(range(FOLDS))


def main() -> None:
    """Run the command line; an input error is one line on stderr and exit code 1."""
    try:
        app()
    except EdgefaceError as error:
        report_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        log_line("stopped; go on with --resume")
        os._exit(130)


if __name__ == "__main__":
    main()
