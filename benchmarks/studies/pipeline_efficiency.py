"""The pipeline on a file against its parts alone: decode, detect, attributes, JSON lines, same frames, same run.

    python -m benchmarks.studies.pipeline_efficiency [--clip demo] [--seconds 60] [--threads 1] [--save FILE]

The parts run in a plain loop, without trackers, queues or threads. Rounds of the loop, of ``run --per-frame`` and of
``run`` take turns, so that a busy machine slows all alike; a share is the median over rounds, with its interval. Exit
code 1 below 0.9. ``edgeface bench --pipeline`` compares with less: decoding and the bare networks on ready inputs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgeface.api import FaceAnalyzer
from edgeface.bench.model_speed import paired_speedup
from edgeface.common.files import atomic_path
from edgeface.common.machine import fingerprint
from edgeface.inference.result import FrameResult, faces_from
from edgeface.pipeline.demo_clip import make_demo_clip
from edgeface.pipeline.runner import run
from edgeface.sinks.file_sinks import json_line
from edgeface.sinks.open import open_sink
from edgeface.sources.open import open_source
from edgeface.tracking.fusion import TrackFuser
from edgeface.tracking.iou import IouTracker
from edgeface.tracking.kalman import KalmanTracker

GOAL = 0.9
_MIN_ROUNDS = 3


def parts(clip: Path, analyzer: FaceAnalyzer, out: Path, frames: int) -> None:
    """Every part of the pipeline once for each frame, one after the other."""
    with open_source(clip) as source, out.open("w", encoding="utf-8") as file:
        for frame in islice(source, frames):
            faces = analyzer.detector(frame.pixels)
            attributes = analyzer.attributes(frame.pixels, faces)
            result = FrameResult(frame, tuple(faces_from(faces, attributes, analyzer.spec)))
            file.write(json_line(result.to_dict()))


def pipeline(clip: Path, analyzer: FaceAnalyzer, out: Path, frames: int, fused: bool) -> None:
    """What ``edgeface run`` does, with or without ``--per-frame``."""
    with open_source(clip) as source:
        if fused:
            run(source, analyzer, KalmanTracker, [open_sink(out)], frames, fuser=lambda: TrackFuser(analyzer.spec))
        else:
            run(source, analyzer, IouTracker, [open_sink(out)], frames)


def measure(clip: Path, seconds: float, frames: int, threads: int) -> dict[str, Any]:
    """Rounds of all ways in turn, and their shares of the parts' speed."""
    with tempfile.TemporaryDirectory() as folder, FaceAnalyzer(threads=threads) as analyzer:
        out = Path(folder) / "out.jsonl"
        ways: dict[str, Callable[[], None]] = {
            "parts": lambda: parts(clip, analyzer, out, frames),
            "run --per-frame": lambda: pipeline(clip, analyzer, out, frames, fused=False),
            "run": lambda: pipeline(clip, analyzer, out, frames, fused=True),
        }
        rounds: dict[str, list[float]] = {name: [] for name in ways}
        answered = []
        for way in ways.values():  # warm up, and see that all answer the same frames
            way()
            answered.append(len(out.read_text(encoding="utf-8").splitlines()))
        assert len(set(answered)) == 1, answered
        end_s = time.perf_counter() + seconds
        while len(rounds["parts"]) < _MIN_ROUNDS or time.perf_counter() < end_s:
            for name, way in ways.items():
                start_s = time.perf_counter()
                way()
                rounds[name].append(time.perf_counter() - start_s)
    reference = np.array(rounds["parts"])
    shares = {name: paired_speedup(reference, np.array(laps)) for name, laps in rounds.items() if name != "parts"}
    return {
        "clip": clip.name,
        "frames": answered[0],
        "rounds": len(reference),
        "threads": threads,
        "fps": {name: round(answered[0] / float(np.median(laps)), 1) for name, laps in rounds.items()},
        "share_of_parts": {name: [round(value, 3) for value in share] for name, share in shares.items()},
        "goal": GOAL,
        "machine": fingerprint(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", default="demo", help="a video; demo: the sample clip")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure")
    parser.add_argument("--frames", type=int, default=150, help="at most so many frames a round")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of one inference")
    parser.add_argument("--save", type=Path, help="also write the result to this JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(options.clip)
        if options.clip == "demo":
            clip = Path(folder) / "demo.mp4"
            make_demo_clip(clip)
        result = measure(clip, options.seconds, options.frames, options.threads)
    text = json.dumps(result, indent=2)
    if options.save:
        with atomic_path(options.save) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    print(text)
    raise SystemExit(0 if min(share[0] for share in result["share_of_parts"].values()) >= GOAL else 1)


if __name__ == "__main__":
    main()
