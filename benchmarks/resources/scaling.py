"""How cost grows: with the faces of a frame, the size of an image, the batch, the streams, the images of a folder.

    python -m benchmarks.resources.scaling [--pictures 20000] [--data DIR-OR-ZIP] [--save
    benchmarks/results/scaling.json]

A power law is fitted to every curve (least squares on logarithms) and its exponent held against the one that the way
of working promises. All images are real ones. Networks run on one thread, ``edgeface predict`` as a process of its
own on all cores. ``--save`` also draws the curves, into a PNG beside the file.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.resources.scaling_fit import Curve, measured, plot
from benchmarks.resources.scaling_frames import batch_curve, faces_curve, mosaic, size_curves
from benchmarks.resources.scaling_load import predict_curves, streams_curve
from benchmarks.script import Results, Tables, markdown, run_script
from benchmarks.studies.photographs import PICTURES as DATA
from benchmarks.studies.photographs import unpack
from edgeface.api import FaceAnalyzer
from edgeface.common.files import sha256_file
from edgeface.common.machine import fingerprint
from edgeface.inference.detector import shipped_model

FACES = (1, 2, 4, 8, 16, 32, 64)
HEIGHTS = (240, 360, 480, 720, 1080, 1440, 2160)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
STREAMS = (1, 2, 4, 8, 16)
PICTURES = (10, 100, 1000, 5000, 20000)
QUICK = {
    "faces": (1, 2, 4),
    "heights": (480, 720, 1080, 2160),
    "batches": (1, 2, 4),
    "streams": (1, 2, 3),
    "pictures": (4, 8, 16),
}
_STREAM_SIZE = (640, 360)
_STREAM_PICTURES = 8


def measure(options: argparse.Namespace) -> Results:
    """All curves."""
    quick = options.quick
    sizes = QUICK if quick else {"faces": FACES, "heights": HEIGHTS, "batches": BATCHES, "streams": STREAMS}
    pictures = QUICK["pictures"] if quick else [count for count in PICTURES if count <= options.pictures]
    with tempfile.TemporaryDirectory(prefix="edgeface-scaling-") as name:
        folder = Path(name)
        files = unpack(options.data or DATA, folder / "pictures", max(pictures))
        curves = _in_process(files, sizes, 0.2 if quick else options.seconds, 1 if quick else 5)
        curves += predict_curves(files, pictures, folder)
    return {
        "curves": [curve.to_dict() for curve in curves],
        "models": {name: sha256_file(shipped_model(f"{name}.onnx")) for name in ("detector", "attributes")},
        "machine": fingerprint(),
    }


def _in_process(files: Sequence[Path], sizes: dict[str, Any], seconds: float, rounds: int) -> list[Curve]:
    """The curves that need no process of their own; ``seconds`` for each."""
    width, height = _STREAM_SIZE
    shown = [mosaic(files[number::_STREAM_PICTURES], width, height) for number in range(_STREAM_PICTURES)]
    with FaceAnalyzer(threads=1) as analyzer:
        return [
            faces_curve(files, analyzer, sizes["faces"], seconds),
            *size_curves(files, analyzer, sizes["heights"], seconds),
            batch_curve(files, analyzer, sizes["batches"], seconds),
            streams_curve(shown, analyzer, sizes["streams"], rounds),
        ]


def tables(results: Results) -> Tables:
    """``scaling``, the exponents, and ``scaling_points``, what was measured."""
    columns = ("", "from", "to", "expected exponent", "measured (95 % interval)", "because")
    exponents = [
        (
            curve["name"],
            f"{curve['x'][0]:,.4g}",
            f"{curve['x'][-1]:,.5g} {curve['x_label']}",
            f"{curve['expected']:g}",
            measured(curve["fit"]),
            curve["why"],
        )
        for curve in results["curves"]
    ]
    points = "\n\n".join(_points(curve) for curve in results["curves"])
    return {"scaling": markdown(columns, exponents), "scaling_points": points}


def _points(curve: dict[str, Any]) -> str:
    """One curve's points, a column each."""
    notes: dict[str, Sequence[float]] = curve["notes"] or {}
    rows = [(name, *(f"{value:,.4g}" for value in values)) for name, values in notes.items()]
    head = [f"{curve['name']}: {curve['x_label']}", *(f"{value:,.5g}" for value in curve["x"])]
    return markdown(head, [(curve["y_label"], *(f"{value:,.4g}" for value in curve["y"])), *rows])


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=int, default=max(PICTURES), help="at most so many for edgeface predict")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each curve measured in this process")
    parser.add_argument("--data", type=Path, action="append", help="zips and folders of images; repeatable")


def main(arguments: Sequence[str] | None = None) -> int:
    return run_script(__doc__, measure, tables, arguments, _options, plot)


if __name__ == "__main__":
    raise SystemExit(main())
