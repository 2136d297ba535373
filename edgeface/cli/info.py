"""``edgeface info``: what a model file says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeface.common.console import echo, echo_json

EXAMPLE = "Example: edgeface info model.onnx"


def info(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file (.onnx or .pt2).", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Check the graph against TensorRT's rules instead; needs no GPU.")
    ] = False,
) -> None:
    """Show the contents of a model file.

    Inputs, outputs, heads, training data, metrics and hashes. Knows attribute networks, trained programs and face
    detectors, ours and those of other families. With --tensorrt: what TensorRT would refuse or run slowly, with exit
    code 1 where it would refuse.
    """
    from edgeface.doctor.model_info import model_info

    if tensorrt:
        _lint(model, as_json)
        return
    facts = model_info(model)
    if as_json:
        echo_json(facts)
        return
    for line in _lines(facts):
        echo(line)


def _lint(model: Path, as_json: bool) -> None:
    import dataclasses

    from edgeface.quantization.lint import lint

    findings = lint(model)
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        rows = [{**dataclasses.asdict(item), "level": item.level, "link": item.link} for item in findings]
        echo_json({"path": str(model), "errors": errors, "findings": rows})
    else:
        for item in findings:
            echo(f"{item.level} {item.rule}: {f'{item.node}: ' if item.node else ''}{item.sentence}\n  {item.link}")
        echo(f"{model}: {errors} errors, {len(findings) - errors} warnings by TensorRT's rules")
    if errors:
        raise typer.Exit(1)


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
