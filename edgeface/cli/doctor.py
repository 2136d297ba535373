"""``edgeface doctor``: what this machine has and whether edgeface works on it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from edgeface.cli.output import say, say_json

EXAMPLE = "Example: edgeface doctor --json > doctor.json"


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False) -> None:
    """Examine this machine.

    Processor, packages, codecs, GPU, shipped models, one inference. Exit code 1 where something keeps edgeface from
    working.
    """
    from edgeface.doctor import examine

    report = examine()
    if as_json:
        say_json(report.to_dict())
    else:
        for name, fact in report.facts.items():
            say(f"{name.replace('_', ' ')}: {_plain(fact)}")
        for hint in report.hints:
            say(f"hint: {hint}")
        for problem in report.problems:
            say(f"problem: {problem}")
        say("edgeface works here" if report.ok else "edgeface does not work here yet")
    if not report.ok:
        raise typer.Exit(1)


def _plain(fact: Any) -> str:
    """A fact as one line, nested ones as indented lines."""
    if isinstance(fact, dict):
        return "".join(f"\n  {name.replace('_', ' ')}: {_plain(item)}" for name, item in fact.items())
    if isinstance(fact, list):
        if fact and isinstance(fact[0], dict):
            return "".join("\n  " + ", ".join(f"{value}" for value in item.values()) for item in fact)
        return ", ".join(map(str, fact)) or "none"
    return "none" if fact is None else str(fact)
