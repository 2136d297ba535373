"""The verbs that make soft labels: ``embed`` and ``probe``. ``trainer.__main__`` mounts them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeface.common.console import echo
from edgeface.errors import ConfigError
from trainer.config import load_config

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="TOML recipe whose images are meant.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; repeatable.")]
Out = Annotated[Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="The file to write.")]


def embed(
    recipe: Recipe,
    out: Out,
    settings: Set = None,
    onnx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A network: float32 [N, 3, S, S] RGB to vectors.")
    ] = None,
    dlib: Annotated[bool, typer.Option("--dlib", help="dlib's face recognition network.")] = False,
    side: Annotated[int, typer.Option(min=16, metavar="S", help="Side in pixels that --onnx takes.")] = 224,
    mean: Annotated[float, typer.Option(help="Taken from each value 0 … 255 for --onnx.")] = 0.0,
    scale: Annotated[float, typer.Option(help="And then multiplied by.")] = 1.0,
    layer: Annotated[str | None, typer.Option(metavar="NAME", help="Output of --onnx; default its first.")] = None,
    crops: Annotated[
        bool, typer.Option("--crops", help="Aligned crops as the recipe cuts them, not whole images.")
    ] = False,
    mirror: Annotated[bool, typer.Option("--mirror", help="The images mirrored left to right.")] = False,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Images at once; some networks take only 1.")] = 16,
) -> None:
    """Embed a recipe's images with a network that others trained."""
    from edgeface.common.console import progress
    from trainer.soft_labels.embed import dlib_embedding, onnx_embedding, write_embeddings

    if dlib == (onnx is not None):
        raise ConfigError("embed: expected either --onnx FILE or --dlib")
    if dlib and crops:
        raise ConfigError("embed: --crops is for --onnx; dlib cuts whole images by its own landmarks")
    config = load_config(recipe, settings or ())
    network = dlib_embedding() if onnx is None else onnx_embedding(onnx, side, mean, scale, layer)
    with progress("embedding") as advance:
        echo(write_embeddings(config, network, out, advance, crops=crops, mirror=mirror, batch=batch))


def probe(
    recipe: Recipe,
    embeddings: Annotated[list[Path], typer.Argument(metavar="EMBEDDINGS…", help="Files that `embed` wrote.")],
    out: Out,
    settings: Set = None,
    width: Annotated[
        int, typer.Option(min=0, metavar="D", help="Principal axes of the embeddings to keep for `embedding`; 0: none.")
    ] = 128,
    mirrored: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="What `embed --mirror` wrote, one for each of EMBEDDINGS.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Passes over the images.")] = 20,
    members: Annotated[int, typer.Option(min=1, metavar="N", help="Probes whose answers are averaged.")] = 2,
) -> None:
    """Train small heads on embeddings, cross-fitted by fold, and write what they say as soft labels for `fit`."""
    from edgeface.common.console import log_line
    from trainer.soft_labels.probe import Learning, write_soft_labels

    learning = Learning(epochs=epochs, members=members)
    config = load_config(recipe, settings or ())
    echo(write_soft_labels(config, embeddings, out, width, log_line, mirrored or (), learning))
