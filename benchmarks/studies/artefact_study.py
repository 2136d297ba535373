"""What every artefact of one network answers, per head and per group, against the float ONNX file on the same faces.

    python -m benchmarks.studies.artefact_study --trained model.pt2 [--data UTKFace/] [--save
    benchmarks/results/artefacts.json]

PyTorch, FP16, both 8-bit flavours and OpenCV's variant are made from the ONNX file (or named) and judged on UTKFace's
fold 1 with the arithmetic of ``edgeface parity``. ONNX Runtime runs the graphs that are for TensorRT, whose own engines
need a GPU. Nothing is timed here: ``edgeface bench`` does that.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.script import DATA, ROOT, Results, Tables, markdown, run_script
from benchmarks.studies.artefacts_made import Absent, artefacts_of
from edgeface.common.console import progress
from edgeface.common.files import sha256_file
from edgeface.common.machine import fingerprint, version
from edgeface.evaluation.datasets import FaceSet, find_faces
from edgeface.evaluation.labelled_crops import LabelledCrops, labelled_crops, thinned
from edgeface.inference.detector import FaceDetector, shipped_model
from edgeface.parity import answers_of
from edgeface.parity.attribute_parity import GROUP_FACES, judge
from edgeface.parity.report import rounded
from edgeface.parity.stats import groups_of
from edgeface.spec.metadata import model_spec

FOLDS = (1,)
CALIBRATION = ROOT / "calibration" / "utkface-512.toml"
UTKFACE = DATA / "utkface"
QUICK_FACES = 200
HEADS = ("age", "gender", "race")
_NAMES = {"gender_race_age": "gender, race and age"}


def measure(options: argparse.Namespace) -> Results:
    """Make the artefacts, ask all of them, judge."""
    model: Path = options.model or shipped_model("attributes.onnx")
    data = options.data or [UTKFACE]
    crops = crops_of(model, find_faces(data, folds=FOLDS), options.quick)
    with tempfile.TemporaryDirectory(prefix="edgeface-artefacts-") as folder:
        made = artefacts_of(model, options.calibration, data, options.trained, options.engine or [], Path(folder))
        baseline, groups = answers_of(model, crops.pixels), groups_of(crops.labels)
        rows: list[dict[str, Any]] = []
        with progress("judging") as report:
            for artefact in made:
                if isinstance(artefact, Absent):
                    rows.append({"name": artefact.name, "absent": artefact.reason})
                else:
                    answers = artefact.answer(crops.pixels)
                    judged = judge(artefact.path, artefact.spec, baseline, answers, crops.labels, groups)
                    size = artefact.path.stat().st_size
                    rows.append({"name": artefact.name, "bytes": size, **rounded(judged.to_dict())})
                    rows[-1]["candidate"] = artefact.path.name
                report(len(rows), len(made))
    return {
        "reference": model.name,
        "reference_sha256": sha256_file(model),
        "reference_bytes": model.stat().st_size,
        "faces": len(crops),
        "group_faces": GROUP_FACES,
        "folds": list(FOLDS),
        "rows": rows,
        "torch": version("torch"),
        "machine": fingerprint(),
    }


def crops_of(model: Path, data: Sequence[FaceSet], quick: bool) -> LabelledCrops:
    """Crops of the labelled faces as the network takes them; of a quick run, ``QUICK_FACES`` at most."""
    chosen = thinned(data, QUICK_FACES) if quick else data
    with progress("cutting crops") as report, FaceDetector(threads=1) as detector:
        return labelled_crops(chosen, model_spec(model), detector, report)


def tables(results: Results) -> Tables:
    """``artefacts``, a row each, and ``artefacts_groups``, losses by gender, race and age."""
    present = [row for row in results["rows"] if "absent" not in row]
    return {"artefacts": _overview(results), "artefacts_groups": _groups(present)}


def _overview(results: Results) -> str:
    columns = (
        f"against ONNX FP32 ({results['reference_bytes'] / 1e6:.2f} MB), {results['faces']:,} faces",
        "size",
        *("loss in age", "in gender", "in race", "largest change of age", "answers that flip (gender / race)"),
        "worst group",
    )
    return markdown(columns, [_row(row, len(columns)) for row in results["rows"]])


def _row(row: Mapping[str, Any], width: int) -> Sequence[str]:
    if "absent" in row:
        return (row["name"], *[""] * (width - 2), row["absent"])
    heads, changes = row["heads"], row["changes"]
    flips = (f"{changes[head]['flips']:.1%}" if head in changes else "" for head in HEADS[1:])
    return (
        row["name"] + (" by float simulation" if row["simulated"] else ""),
        f"{row['bytes'] / 1e6:.2f} MB",
        *(_loss(heads[head]["loss"], heads[head]["unit"]) if head in heads else "" for head in HEADS),
        f"{changes['age']['largest']:.2g} y" if "age" in changes else "",
        " / ".join(flips),
        _worst(row["worst_group"]["points"]),
    )


def _loss(loss: Mapping[str, float], unit: str) -> str:
    short = " y" if unit == "years" else " points"
    return f"{_signed(loss['mean'])} ({_signed(loss['low'])} to {_signed(loss['high'])}){short}"


def _signed(value: float) -> str:
    """Two digits, and no minus before what rounds to nothing."""
    return f"{round(value, 2) + 0.0:+.2f}"


def _worst(group: Mapping[str, Any] | None) -> str:
    if group is None or group["loss"]["mean"] <= 0:
        return "none loses"
    return f"{group['head']} of {group['group']}: {_loss(group['loss'], 'points')}, {group['loss']['n']} faces"


def _groups(rows: Sequence[Mapping[str, Any]]) -> str:
    """Losses of the groups of one label each: age in years / gender / race in points, a column an artefact."""
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in rows:
        for group in row["groups"]:
            if group["axis"] not in _NAMES:
                cells = found.setdefault((group["axis"], group["group"]), {})
                cells.setdefault(row["name"], {})[group["head"]] = group["loss"]["mean"]
    columns = ("loss in age (y) / gender / race (points)", *(row["name"] for row in rows))
    lines = [
        (f"{axis}: {name}", *(_cell(cells.get(row["name"], {})) for row in rows))
        for (axis, name), cells in found.items()
    ]
    return markdown(columns, lines)


def _cell(means: Mapping[str, float]) -> str:
    return " / ".join(_signed(means[head]) if head in means else "–" for head in HEADS)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, help="float ONNX file; without it, the shipped one")
    parser.add_argument("--trained", type=Path, help="the model.pt2 or checkpoint.pt that it was exported from")
    parser.add_argument("--engine", type=Path, action="append", help="a TensorRT engine of it; repeatable")
    parser.add_argument("--calibration", type=Path, default=CALIBRATION, help="calibration set for 8 bits")
    parser.add_argument("--data", type=Path, action="append", help="UTKFace as folders or zips; repeatable")


def main(arguments: Sequence[str] | None = None) -> int:
    return run_script(__doc__, measure, tables, arguments, _options)


if __name__ == "__main__":
    raise SystemExit(main())
