"""How much of the bare speed the whole pipeline keeps: the figures of ``edgeface bench --pipeline``.

A round decodes a clip and answers every frame; its floor is what no pipeline can go below: decoding the same frames and
running both networks on inputs made beforehand. Rounds of both alternate, so that a busy machine slows both alike.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.api import FaceAnalyzer
from edgeface.bench.gpu_speed import GpuCost, gpu_cost
from edgeface.bench.model_speed import Progress, Speedup, paired_speedup
from edgeface.common.machine import fingerprint
from edgeface.errors import ConfigError
from edgeface.gpu.analyzer import GpuAnalyzer
from edgeface.gpu.pipeline import GpuPipeline
from edgeface.imaging.preprocess import align
from edgeface.inference.attributes import landmarks_of
from edgeface.inference.result import FrameResult
from edgeface.pipeline.demo_clip import make_demo_clip
from edgeface.pipeline.device import AnyAnalyzer
from edgeface.pipeline.runner import run
from edgeface.sinks.base import Sink
from edgeface.sources.open import open_source
from edgeface.tracking.iou import IouTracker
from edgeface.types import Image

DEMO = "demo"
_MIN_ROUNDS = 3
_WARM_UP_FRAMES = 8


@dataclass(frozen=True)
class PipelineReport:
    """A clip's way through the pipeline.

    ``size`` is a frame's width and height in pixels; ``fps`` and ``floor_fps`` frames a second of the fastest round;
    ``share`` the pipeline's speed relative to the floor (``None`` on a GPU, whose floor is in ``gpu``); ``age_ms`` p50,
    p95 and the largest time from asking for a frame to its result; ``stages_ms`` by stage, as ``run`` gives them.
    On a GPU: ``copies`` calls and bytes a frame by kind, ``gpu_idle`` the share of all rounds' time in which it had
    nothing to do, ``gpu`` what the clip's fullest frame costs (``None`` where nothing can be captured).
    """

    clip: str
    size: tuple[int, int]
    frames: int
    faces: int
    device: str
    rounds: int
    fps: float
    floor_fps: float | None
    share: Speedup | None
    age_ms: tuple[float, float, float]
    stages_ms: dict[str, dict[str, float]]
    copies: dict[str, dict[str, float]] | None
    gpu_idle: float | None
    gpu: GpuCost | None
    machine: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rounded = {name: {key: round(ms, 4) for key, ms in laps.items()} for name, laps in self.stages_ms.items()}
        return {
            **vars(self),
            "fps": round(self.fps, 2),
            "floor_fps": self.floor_fps and round(self.floor_fps, 2),
            "share": self.share and {name: round(value, 4) for name, value in self.share._asdict().items()},
            "age_ms": dict(zip(("p50", "p95", "max"), (round(value, 3) for value in self.age_ms))),
            "stages_ms": rounded,
            "gpu_idle": self.gpu_idle and round(self.gpu_idle, 4),
            "gpu": self.gpu and self.gpu.to_dict(),
        }


def bench_pipeline(
    clip: str, analyzer: AnyAnalyzer, seconds: float = 10.0, max_frames: int = 200, progress: Progress | None = None
) -> PipelineReport:
    """Run ``clip`` ("demo" for the sample clip) through ``analyzer`` in rounds for ``seconds``, three at least.

    At most ``max_frames`` frames a round. Raises ``SourceError`` for a clip that cannot be read, ``ConfigError`` for
    one without frames.
    """
    if not seconds > 0:
        raise ConfigError(f"seconds: expected more than 0, found {seconds:g}")
    with _clip_file(clip) as path:
        watcher = _Watcher()
        first = _round(path, analyzer, min(_WARM_UP_FRAMES, max_frames), watcher)
        if not first:
            raise ConfigError(f"`{clip}` has no frames to time")
        floor = _floor(path, analyzer, max_frames) if isinstance(analyzer, FaceAnalyzer) else None
        busy_ms = _clocked(analyzer, True)
        ours, bare = _alternate(path, analyzer, floor, seconds, max_frames, watcher, progress)
        busy_ms = _clocked(analyzer, False) - busy_ms
    on_gpu = isinstance(analyzer, GpuAnalyzer)
    frames = watcher.frames
    return PipelineReport(
        clip=Path(clip).name,
        size=watcher.size,
        frames=frames,
        faces=watcher.faces,
        device=_device(analyzer),
        rounds=len(ours),
        fps=frames / min(ours),
        floor_fps=frames / min(bare) if bare else None,
        share=paired_speedup(np.array(bare), np.array(ours)) if bare else None,
        age_ms=watcher.ages_ms(),
        stages_ms=watcher.stages_ms,
        copies=analyzer.ledger.per_frame() if isinstance(analyzer, GpuAnalyzer) else None,
        gpu_idle=1 - busy_ms / 1e3 / sum(ours) if on_gpu else None,
        gpu=_gpu_cost(analyzer, watcher.fullest, seconds),
        machine=fingerprint(),
    )


def _clocked(analyzer: AnyAnalyzer, on: bool) -> float:
    """Have a GPU's work measured, and its copies counted again, or no more; milliseconds that it has worked so far."""

    def switch(pipeline: GpuPipeline) -> float:
        pipeline.clocked = on
        if on:
            pipeline.ledger.frames.clear()
        return pipeline.gpu_ms

    return analyzer.on_gpu(switch) if isinstance(analyzer, GpuAnalyzer) else 0.0


def _gpu_cost(analyzer: AnyAnalyzer, picture: Image, seconds: float) -> GpuCost | None:
    if not isinstance(analyzer, GpuAnalyzer) or not analyzer.on_gpu(lambda pipeline: pipeline.captures):
        return None
    return analyzer.on_gpu(lambda pipeline: gpu_cost(pipeline, picture, seconds / 3))


def _alternate(
    path: Path,
    analyzer: AnyAnalyzer,
    floor: Callable[[], None] | None,
    seconds: float,
    max_frames: int,
    watcher: _Watcher,
    progress: Progress | None,
) -> tuple[list[float], list[float]]:
    """Seconds of each round of the pipeline and of its floor, taking turns."""
    ours: list[float] = []
    bare: list[float] = []
    start, steps = time.perf_counter(), max(math.ceil(seconds), 1)
    while len(ours) < _MIN_ROUNDS or time.perf_counter() - start < seconds:
        watcher.start_round()
        ours.append(_round(path, analyzer, max_frames, watcher))
        if floor is not None:
            begin = time.perf_counter()
            floor()
            bare.append(time.perf_counter() - begin)
        if progress:
            progress(min(int(time.perf_counter() - start), steps - 1), steps)
    if progress:
        progress(steps, steps)
    return ours, bare


def _round(path: Path, analyzer: AnyAnalyzer, max_frames: int, watcher: _Watcher) -> float:
    """Seconds that a run over the clip took; 0 where it has no frames."""
    with open_source(path) as source:
        watcher.start_clock()
        summary = run(source, analyzer, IouTracker, [watcher], max_frames)
    watcher.stages_ms = {name: dict(laps) for name, laps in summary.stages_ms.items()}
    return summary.seconds if summary.frames else 0.0


def _floor(path: Path, analyzer: FaceAnalyzer, max_frames: int) -> Callable[[], None]:
    """Decoding the frames and running the networks on inputs made beforehand, and nothing else."""
    detector, estimator = analyzer.detector, analyzer.attributes
    feeds: list[tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]] | None]] = []
    with open_source(path) as source:
        for frame in islice(source, max_frames):
            faces = detector(frame.pixels)
            crops = align(frame.pixels, landmarks_of(faces), estimator.spec.alignment, estimator.spec.input_size)
            face_feed = {estimator.backend.inputs[0].name: crops} if len(faces) else None
            feeds.append((detector.encoded(frame.pixels), face_feed))

    def once() -> None:
        with open_source(path) as source:
            for _, (picture, crops) in zip(islice(source, max_frames), feeds):
                detector.backend.infer(picture)
                if crops is not None:
                    estimator.backend.infer(crops)

    return once


@contextmanager
def _clip_file(clip: str) -> Iterator[Path]:
    """The clip's file; the sample clip is made for the while."""
    if clip != DEMO:
        yield Path(clip)
        return
    with tempfile.TemporaryDirectory(prefix="edgeface-bench-") as folder:
        path = Path(folder) / "demo.mp4"
        make_demo_clip(path)
        yield path


def _device(analyzer: AnyAnalyzer) -> str:
    if isinstance(analyzer, GpuAnalyzer):
        return analyzer.device
    return analyzer.attributes.backend.device if isinstance(analyzer, FaceAnalyzer) else "unknown"


class _Watcher(Sink):
    """A sink that counts, and measures how old a result is when it comes."""

    name = "bench"

    def __init__(self) -> None:
        self.frames = self.faces = 0
        self.size = (0, 0)
        self.stages_ms: dict[str, dict[str, float]] = {}
        self.fullest: Image = np.zeros((1, 1, 3), np.uint8)
        self._most = -1
        self._ages: list[float] = []
        self._asked = 0.0

    def start_round(self) -> None:
        self.frames = self.faces = 0

    def start_clock(self) -> None:
        self._asked = time.perf_counter()

    def append(self, result: FrameResult) -> None:
        now = time.perf_counter()
        self._ages.append(1e3 * (now - self._asked))
        self._asked = now
        self.frames += 1
        self.faces += len(result.faces)
        self.size = (result.frame.width, result.frame.height)
        if len(result.faces) > self._most:
            self._most, self.fullest = len(result.faces), result.frame.pixels

    def ages_ms(self) -> tuple[float, float, float]:
        p50, p95, largest = np.percentile(self._ages, [50, 95, 100])
        return float(p50), float(p95), float(largest)

    def close(self) -> None:
        return
