"""What an image costs on a GPU, against the floor that no pipeline can go below.

Times inside the GPU are by CUDA events that are part of the captured graph, so that nothing of the host is in them. The
floor is the image's bytes over the measured bandwidth and both networks alone. What the host adds to a launch is told
from the whole graph, upload included, launched in a loop, and the pipeline's own call in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeface.bench.model_speed import Samples, Speedup, interleaved_ms, paired_speedup
from edgeface.cuda.context import DeviceBuffer, PinnedBuffer
from edgeface.cuda.stream import Event, Graph
from edgeface.gpu.frame_job import FrameJob
from edgeface.gpu.pipeline import STAGES, GpuPipeline
from edgeface.types import Image

_LAUNCHES = 30
_SETTLED = 20
"""Calls after which the pipeline foresees the image's number of faces and has captured its graph."""
_COPY_BYTES = 32 << 20
"""Long enough for a copy to be all bandwidth."""

Queue = Callable[[], None]


@dataclass(frozen=True)
class GpuCost:
    """One image's cost; milliseconds are medians.

    ``faces`` were found in it and ``bucket`` answered. ``stages_ms`` by stage and ``graph_ms`` from upload to download;
    ``floor_ms`` of upload, detector, attributes and download, and ``floor`` their sum over ``graph_ms``.
    ``upload_gb_s`` and ``download_gb_s`` from and to pinned memory. ``bare_ms`` from the launch of the graph to the end
    of the wait, ``call_ms`` of the pipeline's call with the image in its slot, ``copied_ms`` with one that has to be
    copied there first; ``overhead`` is call over bare.
    """

    size: tuple[int, int]
    faces: int
    bucket: int
    stages_ms: dict[str, float]
    graph_ms: float
    floor_ms: dict[str, float]
    floor: float
    upload_gb_s: float
    download_gb_s: float
    bare_ms: float
    call_ms: float
    copied_ms: float
    overhead: Speedup

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "overhead": self.overhead._asdict()}


def gpu_cost(pipeline: GpuPipeline, picture: Image, seconds: float = 1.0, copy_bytes: int = _COPY_BYTES) -> GpuCost:
    """The cost of ``picture``, uint8 ``[H, W, 3]`` RGB, on the thread that owns the GPU; ``seconds`` for each way."""
    for _ in range(_SETTLED):
        faces, _ = pipeline(picture)
    height, width = picture.shape[:2]
    bench = _Bench(pipeline)
    job = pipeline.job([picture], max(len(faces), 1))
    pipeline.queue(job)
    pipeline.stream.synchronize()
    up = bench.bandwidth(copy_bytes, up=True)
    down = bench.bandwidth(copy_bytes, up=False)
    upload = bench.upload(picture, job)
    stages = bench.stages(job, upload)
    floor = {
        "upload": picture.nbytes / up / 1e6,
        "detector": bench.median_ms(job.detector.enqueue) if job.detector else 0.0,
        "attributes": bench.median_ms(lambda: pipeline.estimate(job)),
        "download": pipeline.answer_bytes(job) / down / 1e6,
    }
    bare, call, copied = bench.in_turns(job, upload, picture, seconds)
    graph_ms = sum(stages.values())
    return GpuCost(
        size=(width, height),
        faces=len(faces),
        bucket=job.bucket,
        stages_ms=stages,
        graph_ms=graph_ms,
        floor_ms=floor,
        floor=sum(floor.values()) / graph_ms,
        upload_gb_s=up,
        download_gb_s=down,
        bare_ms=_median(bare),
        call_ms=_median(call),
        copied_ms=_median(copied),
        overhead=paired_speedup(_fastest(call), _fastest(bare)),
    )


def _median(rounds: Sequence[Samples]) -> float:
    return float(np.median(np.concatenate(rounds)))


def _fastest(rounds: Sequence[Samples]) -> Samples:
    return np.array([part.min() for part in rounds])


class _Bench:
    """Measures on a pipeline's own stream."""

    def __init__(self, pipeline: GpuPipeline) -> None:
        self._pipeline, self._stream, self._context = pipeline, pipeline.stream, pipeline.context

    def upload(self, picture: Image, job: FrameJob) -> Queue:
        """What brings the image up; nothing where host and GPU share their memory."""
        seat = job.seats[0]
        pinned = seat.ring.filled(picture)
        if pinned.address:
            return lambda: None
        return lambda: self._stream.upload(seat.stages.picture, pinned, picture.nbytes)

    def stages(self, job: FrameJob, upload: Queue) -> dict[str, float]:
        """Median milliseconds of each stage inside one graph."""
        events = {stage: Event(self._context) for stage in ("start", *STAGES)}

        def queue() -> None:
            self._stream.record(events["start"])
            upload()
            self._stream.record(events["upload"])
            self._pipeline.queue(job, lambda stage: self._stream.record(events[stage]))

        graph, moments = self._captured(queue), list(events.values())
        rounds = []
        for _ in range(_LAUNCHES):
            self._launch(graph)
            rounds.append([last.ms_since(first) for first, last in zip(moments, moments[1:])])
        graph.free()
        for event in moments:
            event.free()
        return dict(zip(STAGES, np.median(rounds, axis=0).tolist()))

    def median_ms(self, queue: Queue) -> float:
        """Median milliseconds of what ``queue`` queues, alone in a graph."""
        first, last = Event(self._context), Event(self._context)

        def timed() -> None:
            self._stream.record(first)
            queue()
            self._stream.record(last)

        graph = self._captured(timed)
        times = []
        for _ in range(_LAUNCHES):
            self._launch(graph)
            times.append(last.ms_since(first))
        for thing in (graph, first, last):
            thing.free()
        return float(np.median(times))

    def bandwidth(self, size: int, up: bool) -> float:
        """Gigabytes a second of a copy of ``size`` bytes."""
        with self._context.all_or_nothing():
            pinned, buffer = PinnedBuffer(self._context, size), DeviceBuffer(self._context, size)
        stream = self._stream
        taken = self.median_ms(
            lambda: stream.upload(buffer.address, pinned, size) if up else stream.download(pinned, buffer.address, size)
        )
        pinned.free()
        buffer.free()
        return size / taken / 1e6

    def in_turns(self, job: FrameJob, upload: Queue, picture: Image, seconds: float) -> list[list[Samples]]:
        """Milliseconds of the bare graph, of the pipeline's call, and of one that copies the image first."""
        pipeline, (width, height) = self._pipeline, picture.shape[1::-1]
        for _ in range(3):
            pipeline.slot(width, height)[...] = picture

        def whole() -> None:
            upload()
            pipeline.queue(job)

        graph = self._captured(whole)
        calls = [
            lambda: self._launch(graph),
            lambda: pipeline(pipeline.slot(width, height)),
            lambda: pipeline(picture),
        ]
        try:
            return interleaved_ms(calls, seconds * len(calls))
        finally:
            graph.free()

    def _captured(self, queue: Queue) -> Graph:
        with self._stream.capture() as made:
            queue()
        return made[0]

    def _launch(self, graph: Graph) -> None:
        self._stream.launch_graph(graph)
        self._stream.synchronize()
