"""Two live streams on loopback, the whole pipeline, and a fault every few seconds: what it survives, and at what cost.

    python -m benchmarks.resources.soak [--minutes 20] [--every 20] [--streams rtsp,mjpeg] [--sinks jsonl,csv,…]
    [--save benchmarks/results/soak.json]

Each camera is a process of its own (``tests/live/camera.py``). The faults take turns over the streams: dropped
connections, silence, absence, noise, another size, a clock that is set. Recovery is the time from the end of a fault
to the first result of an image taken after it. Every kind of sink takes the results, those that send to another
process (``soak_peers``) as well. Memory, threads and open files are sampled all the while; their slopes leave the first
quarter out, in which caches fill. ``--explain`` also lists which lines of Python allocated what is held at the end
(``tracemalloc``, which slows the run down). Exit code 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.resources.soak_memory import Growth, allocator_mb
from benchmarks.resources.soak_peers import SINKS, Peers, opened
from edgeface.api import FaceAnalyzer
from edgeface.common.files import atomic_path
from edgeface.common.machine import fingerprint
from edgeface.inference.result import FrameResult
from edgeface.pipeline.run_stats import RunStats, resident_bytes
from edgeface.pipeline.runner import run
from edgeface.sinks.base import Sink
from edgeface.sources.base import SourceOptions
from edgeface.sources.open import open_sources
from edgeface.tracking.fusion import TrackFuser
from edgeface.tracking.kalman import KalmanTracker
from tests.live.camera_process import CameraProcess

SIZES = ((640, 360), (480, 270))
RECOVERY_LIMIT_S = 3.0
AGE_LIMIT_INTERVALS = 3.0
OPTIONS = SourceOptions(open_s=5.0, stall_s=2.0, give_up_s=None)
_SAMPLE_S = 1.0
_IMAGES_KEPT = 100
_WARM_UP_S = 90.0
"""After which ``--explain`` begins to count: until then caches fill."""


@dataclass
class Fault:
    """One fault: when it began and ended (``time.monotonic``), and seconds from its end to the next good result."""

    name: str
    stream: int
    began_s: float
    ended_s: float
    recovered_after_s: float | None = None


@dataclass
class Log:
    """What the soak sees: ages of results, faults, samples of (seconds, bytes, threads, files), glibc's own figures."""

    ages_s: array[float] = field(default_factory=lambda: array("f"))
    faults: list[Fault] = field(default_factory=list)
    samples: list[tuple[float, int, int, int]] = field(default_factory=list)
    allocator: list[dict[str, float]] = field(default_factory=list)
    growth: Growth | None = None


class Observer(Sink):
    """A sink that measures ages and recoveries."""

    name = "soak"

    def __init__(self, log: Log, streams: list[str]) -> None:
        self._log, self._streams = log, streams

    def append(self, result: FrameResult) -> None:
        now_s, taken_s = time.monotonic(), result.frame.captured_s
        assert taken_s is not None
        self._log.ages_s.append(now_s - taken_s)
        stream = self._streams.index(result.frame.source)
        for fault in self._log.faults[-4:]:
            if fault.stream == stream and fault.recovered_after_s is None and taken_s >= fault.ended_s:
                fault.recovered_after_s = now_s - fault.ended_s

    def close(self) -> None:
        """Nothing is open."""


def fault_steps(camera: CameraProcess) -> dict[str, tuple[Callable[[], None], float, Callable[[], None]]]:
    """Each fault's begin, its seconds, and its end."""
    other = {size: SIZES[1 - number] for number, size in enumerate(SIZES)}

    def resize() -> None:
        camera.size = other[camera.size]
        camera.do("show", size=camera.size)

    def nothing() -> None:
        return

    return {
        "drop": (lambda: camera.do("hang_up"), 0.0, nothing),
        "short silence": (lambda: camera.do("stall"), 1.0, lambda: camera.do("stall", on=False)),
        "long silence": (lambda: camera.do("stall"), 5.0, lambda: camera.do("stall", on=False)),
        "away": (lambda: camera.do("down"), 4.0, lambda: camera.do("up")),
        "noise": (lambda: camera.do("garbage", seconds=1.0), 1.0, nothing),
        "other size": (resize, 0.0, nothing),
        "clock ahead": (lambda: camera.do("show", ahead_s=3600.0), 0.0, nothing),
        "clock back": (lambda: camera.do("show", ahead_s=0.0), 0.0, nothing),
    }


def make_faults(cameras: list[CameraProcess], log: Log, every_s: float, until_s: float, stop: threading.Event) -> None:
    """One fault after the other, stream by stream, until shortly before the end."""
    steps = [fault_steps(camera) for camera in cameras]
    names = list(steps[0])
    number = 0
    while not stop.wait(every_s) and time.monotonic() < until_s - 2 * RECOVERY_LIMIT_S - 5:
        stream, name = number % len(cameras), names[number // len(cameras) % len(names)]
        begin, seconds, end = steps[stream][name]
        fault = Fault(name, stream, time.monotonic(), float("inf"))
        begin()
        log.faults.append(fault)
        stop.wait(seconds)
        end()
        fault.ended_s = time.monotonic()
        number += 1
        stop.wait(min(every_s / 2, RECOVERY_LIMIT_S))
        print(f"{fault.began_s - log.samples[0][0]:7.1f} s  {name} of stream {stream}: {_outcome(fault)}", flush=True)
    stop.wait(max(0.0, until_s - time.monotonic()))
    stop.set()


def sample(log: Log, pictures: Path, stop: threading.Event) -> None:
    """Memory, threads and open files once a second; the images written by then are removed, so that no disk fills."""
    warm_s = time.monotonic() + _WARM_UP_S
    while True:
        files = len(os.listdir("/proc/self/fd"))
        log.samples.append((time.monotonic(), resident_bytes(), threading.active_count(), files))
        log.allocator.append(allocator_mb())
        for image in sorted(pictures.glob("[!.]*.jpg"))[:-_IMAGES_KEPT]:
            image.unlink(missing_ok=True)
        if log.growth is not None and time.monotonic() > warm_s:
            log.growth.begin()
            warm_s = float("inf")
        if stop.wait(_SAMPLE_S):
            return


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the soak and return its figures."""
    minutes, fps, kinds = options.minutes, options.fps, options.streams.split(",")
    peers = Peers()
    cameras = [CameraProcess(kind, SIZES[0], fps, faces=2, seed=number) for number, kind in enumerate(kinds)]
    log, stop, stats = Log(growth=Growth() if options.explain else None), threading.Event(), RunStats()
    until_s = time.monotonic() + 60 * minutes
    try:
        with tempfile.TemporaryDirectory() as folder, FaceAnalyzer(threads=options.threads) as analyzer:
            sources = open_sources([camera.uri for camera in cameras], OPTIONS)
            outlets = opened(options.sinks.split(","), Path(folder), peers)
            sinks = [*outlets, Observer(log, [source.name for source in sources])]
            for helper, arguments in (
                (sample, (log, Path(folder) / "images", stop)),
                (make_faults, (cameras, log, options.every, until_s, stop)),
            ):
                threading.Thread(target=helper, args=arguments, daemon=True).start()
            summary = run(
                sources, analyzer, KalmanTracker, sinks, fuser=lambda: TrackFuser(analyzer.spec), stats=stats, stop=stop
            )
            held = log.growth.lines() if log.growth else []
    finally:
        stop.set()
        for camera in cameras:
            camera.close()
        peers.close()
    return {
        "minutes": minutes,
        "streams": kinds,
        "sinks": options.sinks.split(","),
        "fps": fps,
        "frames": summary.frames,
        "faces": summary.faces,
        "dropped": summary.dropped,
        "sources": [{"state": report.state, **asdict(report.counters)} for report in summary.sources],
        "adds_up": all(report.counters.frames >= report.counters.dropped for report in summary.sources)
        and sum(report.counters.frames for report in summary.sources) == summary.frames + summary.dropped,
        "age_ms": {f"p{q}": round(1e3 * float(np.percentile(log.ages_s, q)), 1) for q in (50, 95, 99, 100)},
        "age_p99_intervals": round(float(np.percentile(log.ages_s, 99)) * fps, 2),
        "faults": recoveries(log.faults),
        "resources": resources(log.samples),
        "memory_mb_each_10_s": [round(row[1] / 1e6) for row in log.samples[::10]],
        "allocator_mb": [row for row in log.allocator[:: max(1, len(log.allocator) // 10)] if row],
        **({"growth": held} if options.explain else {}),
        "machine": fingerprint(),
    }


def recoveries(faults: list[Fault]) -> dict[str, Any]:
    """How many faults there were and how long each kind took to recover from."""
    kinds = {}
    for name in dict.fromkeys(fault.name for fault in faults):
        times = [fault.recovered_after_s for fault in faults if fault.name == name]
        known = [seconds for seconds in times if seconds is not None]
        kinds[name] = {
            "count": len(times),
            "recovered": len(known),
            "median_s": round(float(np.median(known)), 2) if known else None,
            "worst_s": round(max(known), 2) if known else None,
        }
    worst = max((row["worst_s"] or 0.0 for row in kinds.values()), default=0.0)
    unrecovered = sum(fault.recovered_after_s is None for fault in faults)
    return {"count": len(faults), "unrecovered": unrecovered, "worst_s": worst, "by_kind": kinds}


def resources(samples: list[tuple[float, int, int, int]]) -> dict[str, dict[str, float]]:
    """First and last level, and the slope an hour, of each resource after the first quarter.

    The slope is Theil and Sen's, the median over pairs, so that a connection's comings and goings do not tilt it.
    """
    kept = np.array(samples[len(samples) // 4 :], np.float64)
    kept = kept[:: max(1, len(kept) // 300)]
    hours = (kept[:, 0] - kept[0, 0]) / 3600
    early, late = np.triu_indices(len(kept), 1)
    figures = {}
    for column, (name, scale) in enumerate((("memory_mb", 1e6), ("threads", 1.0), ("files", 1.0)), 1):
        values = kept[:, column] / scale
        slopes = (values[late] - values[early]) / (hours[late] - hours[early])
        tenth = max(1, len(values) // 10)
        figures[name] = {
            "first": round(float(np.median(values[:tenth])), 1),
            "last": round(float(np.median(values[-tenth:])), 1),
            "slope_per_hour": round(float(np.median(slopes)), 2) if len(slopes) else 0.0,
        }
    return figures


def verdicts(figures: dict[str, Any]) -> dict[str, bool]:
    """Which limits hold; a slope counts as flat below 2 % of the level an hour, plus 5 MB or half a thread or file."""
    faults, levels = figures["faults"], figures["resources"]
    flat = {
        f"{name} flat": abs(row["slope_per_hour"]) <= 0.02 * row["first"] + (5.0 if name == "memory_mb" else 0.5)
        for name, row in levels.items()
    }
    return {
        "every fault recovered": faults["unrecovered"] == 0,
        f"recovered within {RECOVERY_LIMIT_S:g} s": faults["worst_s"] <= RECOVERY_LIMIT_S,
        f"age p99 within {AGE_LIMIT_INTERVALS:g} intervals": figures["age_p99_intervals"] <= AGE_LIMIT_INTERVALS,
        "frames add up": figures["adds_up"],
        **flat,
    }


def _outcome(fault: Fault) -> str:
    after_s = fault.recovered_after_s
    return "not recovered yet" if after_s is None else f"recovered {after_s:.2f} s after its end"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--every", type=float, default=20.0, help="seconds from fault to fault")
    parser.add_argument("--streams", default="rtsp,mjpeg", help="kinds of the cameras: rtsp, mjpeg, ts")
    parser.add_argument("--sinks", default=",".join(SINKS), help=f"kinds of the sinks: {', '.join(SINKS)}")
    parser.add_argument("--fps", type=float, default=15.0, help="frames a second of each camera")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of one inference")
    parser.add_argument("--explain", action="store_true", help="list the lines that allocated what is held at the end")
    parser.add_argument("--save", type=Path, help="also write the result to this JSON file")
    options = parser.parse_args()
    figures = measure(options)
    figures["verdicts"] = verdicts(figures)
    text = json.dumps(figures, indent=2)
    if options.save:
        with atomic_path(options.save) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    print(text)
    raise SystemExit(0 if all(figures["verdicts"].values()) else 1)


if __name__ == "__main__":
    main()
