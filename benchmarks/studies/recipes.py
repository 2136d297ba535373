"""Every recipe's network side by side: size, cost of one face on one CPU thread, and accuracy where it is trained.

    python -m benchmarks.studies.recipes --seconds 10 --save benchmarks/results/recipes.json
    python -m benchmarks.studies.recipes --trained small=runs/small/last.pt --data ../shared/data/utkface --save …
    python -m benchmarks.studies.recipes --costs benchmarks/results/recipes.json --trained … --data … --save …

All are exported and run in ONNX Runtime with one thread, in one interleaved run (``edgeface.bench.model_speed``); the
family also
in 8 bits. Their weights are random, since trained ones cost the same; ``--costs`` takes the times of an earlier run.
Beside the JSON file a table is written as Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.studies.vgg_style import write_vgg_style
from benchmarks.tables.recipes_table import markdown
from edgeface.bench.model_speed import BenchReport, bench
from edgeface.common.files import atomic_path, sha256_file
from edgeface.evaluation.datasets import parse_folds
from edgeface.export.onnx_export import export_onnx, proof_crops
from edgeface.inference.detector import FaceDetector
from edgeface.quantization.quantize import quantize
from edgeface.quantization.ranges import activation_ranges
from trainer.checkpoint import read
from trainer.config import load_config
from trainer.evaluation.artefacts import CheckpointEstimator
from trainer.evaluation.evaluation_data import find_sets
from trainer.evaluation.judge import judge
from trainer.models import AttributeNet, build_net
from trainer.models.attention import MultiHeadAttention
from trainer.models.program import save_program, spec_of

RECIPES = Path(__file__).resolve().parents[2] / "trainer" / "recipes"
FAMILY = ("nano", "small", "base")
YARDSTICK = "vgg_style yardstick"
LEFT_OUT = ("smoke",)
"""It is a test."""
PUBLISHED = {
    "vit-b16": "age MAE 4.34 y, gender 93.0 %, race 82.2 % (500 images)",
    "age-groups": "accuracy 74.0 %, AUC 94.0, F1 74.1, precision 78.2 (six groups)",
    "hydranet": "age MAE 4.73 y, gender 92.76 %, race 82.56 %",
    "age-gender-scratch": "age RMSE 128.4 y, gender F1 0.878",
    "age-gender-scratch-v2": "age RMSE 10.93 y, gender F1 0.862",
    "age-gender-resnet34": "age RMSE 8.46 y, gender F1 0.916",
    "vgg-style": "age MAE 6.84 y, gender 84.9 %, race 70.3 % (F1 0.563)",
}
"""What the systems' own reports say, on splits of their own."""


def recipes() -> list[str]:
    """Names of the recipes that are compared."""
    return sorted(path.stem for path in RECIPES.glob("*.toml") if path.stem not in LEFT_OUT)


def measure(names: Sequence[str], seconds: float, folder: Path) -> dict[str, Any]:
    """Export every recipe's network into ``folder`` and time all of them in one run."""
    rows: dict[str, dict[str, Any]] = {}
    paths: dict[str, Path] = {YARDSTICK: write_vgg_style(folder / "vgg_style.onnx")}
    for name in names:
        print(f"{name}: exporting", file=sys.stderr, flush=True)
        config = load_config(RECIPES / f"{name}.toml")
        net = build_net(config).eval()
        rows[name] = {
            "backbone": config.backbone,
            "input_size": config.input_size,
            "parameters": sum(p.numel() for p in net.parameters()),
            "macs": macs(net, config.input_size),
            "published": PUBLISHED.get(name),
        }
        paths[name] = folder / f"{name}.onnx"
        export_onnx(save_program(net, spec_of(config, net, {}), folder / "model.pt2"), paths[name])
        if name in FAMILY:
            paths[f"{name} int8"] = _int8(paths[name], config.input_size)
    print(f"timing {len(paths)} networks", file=sys.stderr, flush=True)
    report = bench(list(paths.values()), batches=(1,), threads=(1,), seconds=seconds, memory=False)
    costs = dict(zip(paths, _costs(report)))
    for name, row in rows.items():
        row["fp32"] = costs[name]
        row["int8"] = costs.get(f"{name} int8")
    return {"yardstick": costs[YARDSTICK], "recipes": rows, "machine": report.machine}


def macs(net: AttributeNet, size: int) -> int:
    """Multiply-accumulates of convolutions, linear layers and attention for one crop."""
    total = 0

    def count(module: nn.Module, _: Any, out: Any) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += out.shape[1:].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += out.numel() * module.in_features
        elif isinstance(module, MultiHeadAttention):  # projections, then products with keys and with values
            tokens, width = out[0].shape[1:]
            total += 3 * tokens * width**2 + 2 * tokens**2 * width

    hooks = [module.register_forward_hook(count) for module in net.modules()]
    with torch.no_grad():
        net(torch.zeros(1, size, size, 3, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return total


class Trained(NamedTuple):
    """A recipe's checkpoint and how it was trained, in words."""

    path: Path
    how: str

    @classmethod
    def parse(cls, text: str) -> tuple[str, Trained]:
        """NAME=CHECKPOINT or NAME=CHECKPOINT=HOW; without HOW, the epochs and the start that the checkpoint tells."""
        name, path, how = (*text.split("=", 2), "", "")[:3]
        state = read(Path(path))
        epochs = f"{state['epoch']} epoch{'' if state['epoch'] == 1 else 's'}"
        return name, cls(Path(path), how or f"{epochs} from {state['config']['start'] or 'random'} weights")


def accuracy(trained: Mapping[str, Trained], data: Sequence[Path], folds: str, limit: int | None) -> dict[str, Any]:
    """Our evaluation of every trained recipe, through the shipped detector and the recipe's alignment."""
    (faces,) = find_sets(data, None, parse_folds(folds), limit)
    out = {}
    with FaceDetector(threads=1) as detector:
        for name, (path, _) in trained.items():
            print(f"{name}: evaluating", file=sys.stderr, flush=True)
            estimator = CheckpointEstimator(path, "auto")
            found = judge(estimator, faces.crops(estimator.spec, detector))
            out[name] = {
                "n": found["n"],
                "age_mae": found["age"]["mae"],
                "age_rmse": found["age"]["rmse"],
                "gender_accuracy": found["gender"]["accuracy"],
                "gender_f1": found["gender"]["f1"],
                "race_accuracy": found["race"]["accuracy"],
                "race_f1": found["race"]["f1"],
                "age_groups_accuracy": found["age_groups"]["accuracy"],
                "harmonic": found["harmonic"]["score"],
            }
    return out


def _int8(path: Path, size: int) -> Path:
    """The network in 8 bits for this processor; what the ranges are does not change its speed."""
    ranges = activation_ranges(path, [{"crops": proof_crops(size)}], "minmax", "proof")
    return quantize(path, path.with_suffix(".int8.onnx"), "int8", "auto", ranges)


def _costs(report: BenchReport) -> list[dict[str, float]]:
    """Milliseconds (the median round's fastest call) and how many times as fast as the yardstick, per artefact."""
    out = []
    for row in report.rows:
        speedup = report.speedup(row)
        times = {"ms": float(np.median(row.rounds_ms)), "times": speedup.median, "low": speedup.low}
        out.append({key: round(value, 4) for key, value in {**times, "high": speedup.high}.items()})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=recipes(), default=recipes(), help="recipes to compare")
    parser.add_argument(
        "--trained",
        nargs="+",
        default=[],
        metavar="NAME=CHECKPOINT[=HOW]",
        help="weights at hand, and how they were trained where the checkpoint does not tell",
    )
    parser.add_argument("--costs", type=Path, metavar="JSON", help="take times and sizes from this earlier result")
    parser.add_argument("--data", nargs="+", type=Path, default=[], help="UTKFace: folders and zips to evaluate on")
    parser.add_argument("--folds", default="1")
    parser.add_argument("--limit", type=int, help="only so many images, evenly spread")
    parser.add_argument("--seconds", type=float, default=10.0, help="time on each network")
    parser.add_argument("--save", type=Path, help="JSON file to write; the table goes beside it")
    options = parser.parse_args()
    trained = dict(Trained.parse(text) for text in options.trained)
    if unknown := sorted(set(trained) - set(options.only)):
        parser.error(f"--trained names no recipe that is compared: {', '.join(unknown)}")
    torch.set_num_threads(1)
    if options.costs:
        result = json.loads(options.costs.read_text(encoding="utf-8"))
    else:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(options.only, options.seconds, Path(folder))
    if trained and options.data:
        result["evaluated"] = {"folds": options.folds, "limit": options.limit}
        for name, figures in accuracy(trained, options.data, options.folds, options.limit).items():
            known = {"trained": trained[name].how, "checkpoint_sha256": sha256_file(trained[name].path)}
            result["recipes"][name] |= {"ours": figures, **known}
    if options.save:
        with atomic_path(options.save) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        with atomic_path(options.save.with_suffix(".md")) as temporary:
            temporary.write_text(markdown(result), encoding="utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
