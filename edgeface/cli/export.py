"""``edgeface export``: from a trained program to the ONNX file that runs everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeface.common.console import echo

EXAMPLE = "Example: edgeface export model.pt2 -o model.onnx"


def export(
    program: Annotated[Path, typer.Argument(metavar="MODEL.pt2", help="What the trainer wrote.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL.onnx", help="The file to write.")],
) -> None:
    """Export to ONNX and verify that outputs match.

    The same crops go through PyTorch and ONNX Runtime; where an output differs by more than its declared tolerance,
    nothing is written.
    """
    from edgeface.cli.overwriting import refuse_overwriting_input
    from edgeface.common.files import sha256_file
    from edgeface.export.onnx_export import export_onnx

    refuse_overwriting_input(program, output, suffixes=(".onnx",))
    export_onnx(program, output)
    echo(f"wrote {output} ({output.stat().st_size / 1e6:.2f} MB, sha256 {sha256_file(output)})")
