"""``python -m trainer``: cut crops, train, judge, and write the program of a recipe."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeface.errors import EdgefaceError
from trainer.config import load_config

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Recipe = Annotated[Path, typer.Argument(help="TOML recipe, as in trainer/recipes/.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; repeatable.")]


@app.command()
def crops(recipe: Recipe, settings: Set = None) -> None:
    """Cut the crops of a recipe's pictures into its cache."""
    from trainer.data import load_samples
    from trainer.log import Log

    config = load_config(recipe, settings or ())
    with Log(Path(config.out), resume=True) as log, log.bar("crops") as advance:
        log.data(load_samples(config, advance), config)


@app.command()
def fit(
    recipe: Recipe,
    settings: Set = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a recipe; the last step writes model.pt2."""
    from trainer.train import fit as run

    typer.echo(run(load_config(recipe, settings or ()), resume))


@app.command()
def program(
    recipe: Recipe,
    settings: Set = None,
    folds: Annotated[str, typer.Option(help="Folds whose metrics the model is to carry, as in 0,1.")] = "",
) -> None:
    """Write model.pt2 from the last checkpoint."""
    from trainer.train import write_program

    typer.echo(write_program(load_config(recipe, settings or ()), _folds(folds) if folds else ()))


@app.command()
def evaluate(
    recipe: Recipe,
    settings: Set = None,
    folds: Annotated[str, typer.Option(help="Folds to judge on, as in 2 or 0,1.")] = "2",
) -> None:
    """Judge the last checkpoint's averaged weights on cached crops; prints JSON."""
    from trainer.train import judge

    typer.echo(json.dumps(judge(load_config(recipe, settings or ()), _folds(folds)), indent=2))


def _folds(text: str) -> frozenset[int]:
    from edgeface.datasets import parse_folds

    return parse_folds(text) or frozenset(range(10))


def main() -> None:
    """Run the command line; an input error is one line on stderr and exit code 1."""
    try:
        app()
    except EdgefaceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        os._exit(130)


if __name__ == "__main__":
    main()
