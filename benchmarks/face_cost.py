"""Cost of one face on one CPU thread: the shipped attribute network against a VGG-style CNN, side by side in one run.

    python -m benchmarks.face_cost [--seconds 10] [--save benchmarks/results/face_cost.json]

Both run in ONNX Runtime FP32 with one thread. Rounds are interleaved, so that a busy machine slows both alike; the
ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.vgg_style import SIZE, write_vgg_style
from edgeface.artifact import atomic_path, model_spec, sha256_file
from edgeface.machine import fingerprint
from edgeface.runtime.base import Backend, open_backend

MODEL = Path(__file__).resolve().parents[1] / "edgeface" / "assets" / "models" / "attributes.onnx"


def caller(backend: Backend, picture: np.ndarray) -> Callable[[], object]:
    """A function that runs one inference on ``picture``."""
    feed = {backend.inputs[0].name: picture}
    return lambda: backend.infer(feed)


def interleaved_ms(
    calls: dict[str, Callable[[], object]], seconds: float, per_round_s: float = 0.1
) -> dict[str, list[float]]:
    """Mean milliseconds of each call in every round; a round runs each of them for about ``per_round_s``."""
    repeats = {}
    for name, call in calls.items():
        for _ in range(10):
            call()
        start = time.perf_counter()
        call()
        repeats[name] = max(3, int(per_round_s / (time.perf_counter() - start)))
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            rounds[name].append((time.perf_counter() - start) / repeats[name] * 1e3)
    return rounds


def measure(seconds: float) -> dict[str, object]:
    """Run both networks and return medians, the ratio and the machine."""
    rng = np.random.default_rng(0)
    spec = model_spec(MODEL)
    with tempfile.TemporaryDirectory() as folder, open_backend(MODEL, threads=1) as ours:
        yardstick = open_backend(write_vgg_style(Path(folder) / "vgg.onnx"), threads=1)
        crop = rng.integers(0, 256, (1, spec.input_size, spec.input_size, 3), np.uint8)
        picture = rng.normal(0, 1, (1, 3, SIZE, SIZE)).astype(np.float32)
        with yardstick:
            rounds = interleaved_ms({"edgeface": caller(ours, crop), "vgg_style": caller(yardstick, picture)}, seconds)
    ratios = np.array(rounds["vgg_style"]) / np.array(rounds["edgeface"])
    return {
        "edgeface_ms": round(float(np.median(rounds["edgeface"])), 4),
        "vgg_style_ms": round(float(np.median(rounds["vgg_style"])), 4),
        "ratio": round(float(np.median(ratios)), 2),
        "ratio_p10_p90": [round(float(q), 2) for q in np.percentile(ratios, [10, 90])],
        "rounds": len(ratios),
        "model_sha256": sha256_file(MODEL),
        "machine": fingerprint(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to measure")
    parser.add_argument("--save", type=Path, help="also write the result to this JSON file")
    options = parser.parse_args()
    result = measure(options.seconds)
    text = json.dumps(result, indent=2)
    if options.save:
        with atomic_path(options.save) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
