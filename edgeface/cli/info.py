"""``edgeface info``: what a model file says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeface.cli.output import say, say_json

EXAMPLE = "Example: edgeface info model.onnx"


def info(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file (.onnx or .pt2).", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show what a model file says of itself.

    Inputs, outputs, heads, training data, metrics and hashes. Knows attribute networks, trained programs and face
    detectors, ours and those of other families.
    """
    from edgeface.model_info import model_info

    facts = model_info(model)
    if as_json:
        say_json(facts)
        return
    for line in _lines(facts):
        say(line)


def _lines(value: dict[str, Any], indent: str = "") -> list[str]:
    """Nested facts as indented ``name: value`` lines."""
    lines = []
    for name, item in value.items():
        if isinstance(item, dict):
            lines += [f"{indent}{name}:", *_lines(item, indent + "  ")] if item else []
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            lines.append(f"{indent}{name}:")
            lines += [f"{indent}  {_inline(entry)}" for entry in item]
        elif item not in ("", None, []):
            lines.append(f"{indent}{name}: {item}")
    return lines


def _inline(entry: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in entry.items() if value not in ("", None, [], ()))
