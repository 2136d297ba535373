"""What it costs to recall more of "Others": races answered again with that class's probability multiplied.

    python -m benchmarks.studies.race_odds [--data UTKFace/] [--fairface DIR --labels labels.csv] [--save
    …/race_odds.json]

Anyone who reads a network's answers can do the same without training: multiply ``race[:, 4]`` and take the greatest.
The shipped network's answers hold such a shift already (``race_bias`` in its spec); the factor that takes it back
is among the rows, so that the two can be compared. Judged on the test folds; no factor was chosen on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import exp
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.script import DATA, Results, Tables, markdown, run_script
from benchmarks.studies.artefact_study import crops_of
from benchmarks.tables.quality_tables import percent
from edgeface.common.files import sha256_file
from edgeface.common.machine import fingerprint
from edgeface.evaluation.datasets import FaceSet, find_faces
from edgeface.evaluation.metrics import accuracy, recalls
from edgeface.inference.detector import shipped_model
from edgeface.parity import answers_of
from edgeface.spec.metadata import model_spec
from edgeface.spec.model import RACES

FACTORS = (0.5, 1.0, 1.25, 1.5, 2.0)
UTKFACE, FAIRFACE = "UTKFace fold 1", "FairFace folds 0, 1"
_CLASS = RACES.index("Others")


def measure(options: argparse.Namespace) -> Results:
    """Ask the network once, then count its races for every factor."""
    model: Path = options.model or shipped_model("attributes.onnx")
    taken_back = _taken_back(model)
    factors = sorted({*FACTORS, taken_back})
    sets = {
        UTKFACE: find_faces([options.data], folds=(1,)),
        FAIRFACE: find_faces([options.fairface], options.labels, folds=(0, 1)),
    }
    found = {name: _judged(model, faces, factors, options.quick) for name, faces in sets.items()}
    return {
        "model": model.name,
        "model_sha256": sha256_file(model),
        "taken_back": taken_back,
        "factors": factors,
        "sets": found,
        "machine": fingerprint(),
    }


def _taken_back(model: Path) -> float:
    """The factor by which the probability of "Others" is what it would be without the spec's ``race_bias``."""
    calibration = model_spec(model).training.get("calibration") or {}
    bias = calibration.get("race_bias", [0.0] * len(RACES))[_CLASS]
    return round(exp(-bias / calibration.get("race_temperature", 1.0)), 3)


def _judged(model: Path, data: Sequence[FaceSet], factors: Sequence[float], quick: bool) -> Results:
    crops = crops_of(model, data, quick)
    race, label = answers_of(model, crops.pixels).race, np.asarray(crops.labels.race)
    return {"faces": len(crops), "rows": [row_of(race, label, factor) for factor in factors]}


def row_of(race: NDArray[np.float32], label: NDArray[np.int64], factor: float) -> Results:
    """Accuracy and recalls of probabilities ``[N, 5]``, that of "Others" multiplied, against classes int ``[N]``."""
    shifted = race.copy()
    shifted[:, _CLASS] *= factor
    said = shifted.argmax(axis=1)
    return {
        "factor": factor,
        "accuracy": accuracy(said, label),
        "recalls": dict(zip(RACES, recalls(said, label, len(RACES)))),
    }


def tables(results: Results) -> Tables:
    """``race_odds``, a row each factor."""
    columns = ['"Others" ×', *(f"{name}: {what}" for name in results["sets"] for what in ("race", "Others", "White"))]
    rows = [
        (_name(factor, results["taken_back"]), *(cell for judged in results["sets"].values()
                                                 for cell in _cells(judged["rows"][number])))
        for number, factor in enumerate(results["factors"])
    ]  # fmt: skip
    return {"race_odds": markdown(columns, rows)}


def _name(factor: float, taken_back: float) -> str:
    remarks = {1.0: " (as shipped)", taken_back: " (no shift)"}
    return f"{factor:.2f}{remarks.get(factor, '')}"


def _cells(row: Results) -> tuple[str, str, str]:
    return percent(row["accuracy"]), percent(row["recalls"]["Others"]), percent(row["recalls"]["White"])


def main(arguments: Sequence[str] | None = None) -> int:
    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--model", type=Path, help="attribute network; default: the shipped one")
        parser.add_argument("--data", type=Path, default=DATA / "utkface", help="UTKFace, a folder or zip")
        parser.add_argument("--fairface", type=Path, default=DATA / "fairface", help="FairFace, a folder or zip")
        parser.add_argument("--labels", type=Path, default=DATA / "fairface" / "labels.csv", help="its labels")

    return run_script(__doc__, measure, tables, arguments, add_options)


if __name__ == "__main__":
    raise SystemExit(main())
