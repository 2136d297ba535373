"""Frames a second of the C++ demo against `edgeface run --per-frame`: same clip, models, runtime and threads, in turn.

    python -m benchmarks.studies.cpp_frames CLIP.mp4 [--rounds 5] [--threads 1] [--save
    benchmarks/results/cpp_frames.json]

Both decode, detect, judge, track and write JSON lines. Every round runs one after the other; the ratio of a round is
what a busy machine disturbs least, and their median is the figure.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from edgeface.common import machine

_DEMO = Path(__file__).resolve().parents[2] / "build" / "cpp" / "edgeface_demo"
_FPS = re.compile(r"([\d.]+) frames/s")


def frames_per_second(command: list[str]) -> float:
    """What the command says of itself, without start-up and loading."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = _FPS.search(done.stdout + done.stderr)
    if not found:
        sys.exit(f"error: {command[0]} did not say its frames/s")
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--demo", type=Path, default=_DEMO)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    if not given.demo.is_file():
        sys.exit(
            f"error: no demo at `{given.demo}`, build it with ONNX Runtime: make cpp CPP_FLAGS=-DONNXRUNTIME_ROOT=…"
        )
    with tempfile.TemporaryDirectory() as folder:
        ours = [str(given.demo), str(given.clip), "--backend", "onnxruntime", "--threads", given.threads]
        theirs = [
            sys.executable,
            "-m",
            "edgeface.cli.main",
            "run",
            str(given.clip),
            "--per-frame",
            "--threads",
            given.threads,
        ]
        rounds = [
            {
                "cpp_fps": frames_per_second([*ours, "--jsonl", f"{folder}/cpp.jsonl"]),
                "python_fps": frames_per_second([*theirs, "--sink", f"{folder}/python.jsonl"]),
            }
            for _ in range(given.rounds)
        ]
    ratio = statistics.median(row["cpp_fps"] / row["python_fps"] for row in rounds)
    result = {
        "clip": given.clip.name,
        "threads": int(given.threads),
        "rounds": rounds,
        "median_ratio": round(ratio, 3),
        "fingerprint": machine.fingerprint(),
    }
    for row in rounds:
        print(f"C++ {row['cpp_fps']:.1f} frames/s, Python {row['python_fps']:.1f}")
    print(f"C++ / Python: {ratio:.2f} (median of {len(rounds)} rounds)")
    if given.save:
        given.save.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
