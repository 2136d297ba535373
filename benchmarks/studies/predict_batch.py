"""``edgeface predict`` over thousands of images against the bare cost of its parts, and its memory on the way.

    python -m benchmarks.studies.predict_batch [--pictures 5000] [--data DIR-OR-ZIP] [--save FILE]

The command runs as a user would run it, as one process over one folder. The bare parts run in a plain loop here: OpenCV
decodes, the detector finds faces, crops are cut, the attribute network answers; no messages, checks or JSON. Both
take turns, a chunk of the same images each, one halted while the other runs, so that a busy machine slows both alike.
Efficiency is the bare seconds over the command's, its start and end included; reading ahead may take it above 1.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from scipy.stats import theilslopes

from benchmarks.script import Results, Tables, markdown, run_script
from benchmarks.studies.photographs import PICTURES, unpack
from benchmarks.studies.predict_process import PredictProcess
from edgeface.api import FaceAnalyzer
from edgeface.bench.model_speed import paired_speedup
from edgeface.common.console import progress
from edgeface.common.files import sha256_file
from edgeface.common.machine import fingerprint
from edgeface.errors import BackendError
from edgeface.imaging.preprocess import align
from edgeface.inference.attributes import landmarks_of
from edgeface.inference.detector import shipped_model

GOAL = 0.85
THREADS = (1, 0)
"""Threads of one inference: one, and all cores, which is the command's default."""
SETTLED = 500
"""Images after which memory is expected to stay as it is."""
GROWTH_FRAC = 0.05
"""Memory that grows by less than this from there to the end is flat."""


@dataclass
class Chunks:
    """What each chunk of images took: seconds of the command and of the bare parts, and the command's memory."""

    predict_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    faces: int = 0


def bare(files: Sequence[Path], analyzer: FaceAnalyzer) -> list[list[float]]:
    """Ages of the faces of each image, by the parts alone."""
    detector, estimator = analyzer.detector, analyzer.attributes
    size, name = estimator.spec.input_size, estimator.backend.inputs[0].name
    answers: list[list[float]] = []
    for file in files:
        decoded = cv2.imread(str(file))
        assert decoded is not None, f"OpenCV cannot decode {file}"
        pixels = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
        faces = detector(pixels)
        if not len(faces):
            answers.append([])
            continue
        crops = align(pixels, landmarks_of(faces), estimator.spec.alignment, size)
        answers.append(estimator.backend.infer({name: crops})["age"].tolist())
    return answers


def measure_threads(files: Sequence[Path], threads: int, chunk: int) -> dict[str, Any]:
    """Both ways over ``files``, chunk by chunk, with ``threads`` threads an inference."""
    with FaceAnalyzer(threads=threads) as analyzer, PredictProcess(files[0].parent, threads) as predict:
        bare(files[: min(8, chunk)], analyzer)  # warm up; the command's own warming up is part of what it takes
        chunks = _take_turns(files, predict, analyzer, chunk)
        peak_mb = predict.peak_mb()
        predict.finish()
    bare_s = sum(chunks.bare_s)
    listed = {name: getattr(chunks, name) for name in ("predict_s", "bare_s", "memory_mb")}
    return {
        "threads": threads,
        "faces": chunks.faces,
        "predict_s": round(predict.seconds, 6),
        "bare_s": round(bare_s, 6),
        "efficiency": round(bare_s / predict.seconds, 4),
        "start_s": round(max(0.0, chunks.predict_s[0] - float(np.median(chunks.predict_s))), 3),
        "chunk_efficiency": efficiency_of(chunks),
        "memory": memory_of(chunks) | {"peak_mb": round(peak_mb, 1)},
        "chunks": {name: [round(value, 4) for value in values] for name, values in listed.items()},
    }


def _take_turns(files: Sequence[Path], predict: PredictProcess, analyzer: FaceAnalyzer, chunk: int) -> Chunks:
    """A chunk by the command, the same chunk by the bare parts, until all are done."""
    chunks = Chunks()
    with progress("predict and its parts") as report:
        for start in range(0, len(files), chunk):
            part = files[start : start + chunk]
            seconds, lines = predict.answers(len(part))
            began = perf_counter()
            ages = bare(part, analyzer)
            chunks.bare_s.append(perf_counter() - began)
            check_answers(lines, ages)
            chunks.faces += sum(map(len, ages))
            chunks.predict_s.append(seconds)
            chunks.pictures.append(start + len(part))
            chunks.memory_mb.append(predict.memory_mb())
            report(start + len(part), len(files))
    return chunks


def check_answers(lines: Sequence[dict[str, Any]], ages: Sequence[Sequence[float]]) -> None:
    """Raise ``BackendError`` unless the command found the same faces and gave them the same ages."""
    for line, bare_ages in zip(lines, ages, strict=True):
        said = [face["age"] for face in line["faces"]]
        if len(said) != len(bare_ages) or not np.allclose(said, bare_ages, atol=0.02):
            raise BackendError(f"`{line['path']}`: edgeface predict says {said}, its parts alone {list(bare_ages)}")


def efficiency_of(chunks: Chunks) -> dict[str, float]:
    """Median and 95 % interval of the chunks' ratios, without the first, in which the command starts."""
    first = 1 if len(chunks.bare_s) > 1 else 0
    ratio = paired_speedup(np.array(chunks.bare_s[first:]), np.array(chunks.predict_s[first:]))
    return {name: round(value, 4) for name, value in ratio._asdict().items()}


def memory_of(chunks: Chunks) -> dict[str, Any]:
    """Level when it has settled and at the end, and the slope between (Theil and Sen's, with its 95 % interval)."""
    pictures, levels = np.array(chunks.pictures, float), np.array(chunks.memory_mb)
    settled = min(int(np.searchsorted(pictures, SETTLED)), len(pictures) - 1)
    slope, _, low, high = (
        theilslopes(levels[settled:], pictures[settled:]) if settled < len(pictures) - 1 else [0.0] * 4
    )
    return {
        "settled_after": int(pictures[settled]),
        "settled_mb": round(float(levels[settled]), 1),
        "end_mb": round(float(levels[-1]), 1),
        "slope_mb_per_1000": [round(1000 * float(value), 3) for value in (slope, low, high)],
        "flat": bool(levels[-1] <= (1 + GROWTH_FRAC) * levels[settled]),
    }


def measure(options: argparse.Namespace) -> Results:
    """Unpack, then measure with each number of threads."""
    count, chunk = (24, 8) if options.quick else (options.pictures, 250)
    data = options.data or PICTURES
    with tempfile.TemporaryDirectory(prefix="edgeface-predict-") as folder:
        files = unpack(data, Path(folder) / "pictures", count)
        runs = [measure_threads(files, threads, chunk) for threads in THREADS]
    return {
        "pictures": len(files),
        "data": [path.name for path in data],
        "chunk": chunk,
        "goal": GOAL,
        "runs": runs,
        "models": {name: sha256_file(shipped_model(f"{name}.onnx")) for name in ("detector", "attributes")},
        "machine": fingerprint(),
    }


def tables(results: Results) -> Tables:
    """The table ``predict_batch``."""
    efficiency, settled = f"efficiency (goal: {results['goal']})", f"memory after {SETTLED}"
    columns = ("threads", "images a second", "bare parts", efficiency, settled, "at the end", "growth")
    return {"predict_batch": markdown(columns, [_row(run, results["pictures"]) for run in results["runs"]])}


def _row(run: dict[str, Any], pictures: int) -> tuple[str, ...]:
    share, memory = run["chunk_efficiency"], run["memory"]
    slope, low, high = memory["slope_mb_per_1000"]
    return (
        str(run["threads"] or "all cores"),
        f"{pictures / run['predict_s']:.0f}",
        f"{pictures / run['bare_s']:.0f}",
        f"{run['efficiency']:.2f} ({share['low']:.2f} to {share['high']:.2f} without the start)",
        f"{memory['settled_mb']:.0f} MB",
        f"{memory['end_mb']:.0f} MB",
        f"{slope:+.2f} ({low:+.2f} to {high:+.2f}) MB per 1,000",
    )


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=int, default=5000, help="how many (--quick: 24)")
    parser.add_argument("--data", type=Path, action="append", help="zips and folders of images; repeatable")


def main(arguments: Sequence[str] | None = None) -> int:
    return run_script(__doc__, measure, tables, arguments, _options)


if __name__ == "__main__":
    raise SystemExit(main())
