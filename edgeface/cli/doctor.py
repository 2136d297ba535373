"""``edgeface doctor``: what this machine has and whether edgeface works on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeface.common.console import echo, echo_json

EXAMPLE = "Example: edgeface doctor --json > doctor.json"


def doctor(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Say which artefacts in it would load here instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Examine this machine, or a folder of artefacts on it.

    Processor, packages, codecs, GPU, CUDA, TensorRT, the precisions that make sense, shipped models, one inference.
    Exit code 1 where something keeps edgeface from working, or an artefact of FOLDER does not load.
    """
    if folder is not None:
        _examine_folder(folder, as_json)
        return
    from edgeface.doctor.examine import examine

    report = examine()
    if as_json:
        echo_json(report.to_dict())
    else:
        for name, fact in report.facts.items():
            echo(f"{name.replace('_', ' ')}: {_plain(fact)}")
        for hint in report.hints:
            echo(f"hint: {hint}")
        for problem in report.problems:
            echo(f"problem: {problem}")
        echo("edgeface works here" if report.ok else "edgeface does not work here yet")
    if not report.ok:
        raise typer.Exit(1)


def _examine_folder(folder: Path, as_json: bool) -> None:
    from edgeface.doctor.accelerators import folder_facts

    facts = folder_facts(folder)
    if as_json:
        echo_json({"folder": str(folder), "artefacts": facts})
    else:
        for fact in facts:
            fate = f"loads on {fact['device']}, passport: {fact['passport']}" if fact["loads"] else fact["why"]
            echo(f"{fact['name']}: {fate}")
    if not all(fact["loads"] for fact in facts):
        raise typer.Exit(1)


def _plain(fact: Any, indent: str = "  ") -> str:
    """A fact as one line, nested ones as indented lines."""
    if isinstance(fact, dict):
        return "".join(
            f"\n{indent}{name.replace('_', ' ')}: {_plain(item, indent + '  ')}" for name, item in fact.items()
        )
    if isinstance(fact, list):
        if fact and isinstance(fact[0], dict):
            return "".join(f"\n{indent}" + ", ".join(f"{value}" for value in item.values()) for item in fact)
        return ", ".join(map(str, fact)) or "none"
    return "none" if fact is None else str(fact)
