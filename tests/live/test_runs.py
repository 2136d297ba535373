"""Runs under faults: a stage that raises, a slow sink, a full disk, a camera that is too fast, one that is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.api import FaceAnalyzer
from edgeface.errors import SinkError
from edgeface.inference.observation import Observation
from edgeface.inference.result import FrameResult
from edgeface.pipeline.run_stats import RunStats, RunSummary
from edgeface.pipeline.runner import run
from edgeface.sinks.base import Sink
from edgeface.sinks.open import open_sink
from edgeface.sources.base import Source, SourceOptions
from edgeface.sources.file import FileSource
from edgeface.sources.open import open_source, open_sources
from edgeface.tracking.fusion import TrackFuser
from edgeface.tracking.iou import IouTracker
from edgeface.tracking.kalman import KalmanTracker
from edgeface.types import Attributes, Faces, Frame, Image
from tests.fixtures import picture, tiny_detector, tiny_model, tiny_spec  # noqa: F401
from tests.live.camera import FaultCamera, View
from tests.live.watch import LIMIT_S
from tests.sinks.test_file_sinks import full_disk

CAMERA = "synthetic:?size=64x64&fps=100&faces=0"


class Oops(Exception):
    """What a stage raises here."""


class Stub:
    """An analyzer that finds a face in each frame, after ``seconds``; ``broken`` names the stage that raises."""

    spec = tiny_spec()
    batch_size = 1

    def __init__(self, broken: str = "", seconds: float = 0.0) -> None:
        self.broken, self.seconds, self.calls = broken, seconds, 0

    def observe(self, images: list[Image]) -> list[Observation]:
        return [self._observed(image) for image in images]

    def _observed(self, image: Image) -> Observation:
        faces = self.detector(image)
        return Observation(faces, lambda due: self.attributes(image, faces[due]))

    def detector(self, image: Image) -> Faces:
        self.calls += 1
        if self.broken == "detect" and self.calls == 4:
            raise Oops("detect")
        time.sleep(self.seconds)
        return Faces([[8, 8, 40, 40]], [0.9], np.full((1, 5, 2), 20.0))

    def attributes(self, image: Image, faces: Faces) -> Attributes:
        if self.broken == "attributes" and self.calls == 4:
            raise Oops("attributes")
        count = len(faces)
        return Attributes(np.full(count, 30), np.full(count, 5), [[1, 0]] * count, [[1, 0, 0, 0, 0]] * count)


class Pictures(FileSource):
    """Many small frames; raises before the fifth where it is ``broken``."""

    def __init__(self, count: int = 200, broken: bool = False) -> None:
        super().__init__("made")
        self.frame_count, self.broken = count, broken

    def _frames(self) -> Iterator[Frame]:
        for index in range(self.frame_count or 0):
            if self.broken and index == 4:
                raise Oops("decode")
            yield Frame(picture([(0, 0)], 64, 64), index / 25, "made", index)


class Tracker(IouTracker):
    def __call__(self, faces: Faces, pts_s: float | None = None) -> Any:
        if pts_s and pts_s > 0.1:
            raise Oops("track")
        return super().__call__(faces, pts_s)


class Fuser(TrackFuser):
    def plan(self, frame: Frame, faces: Faces, tracks: Any) -> Any:
        if frame.index >= 3:
            raise Oops("fuse")
        return super().plan(frame, faces, tracks)


class Recorder(Sink):
    """Keeps the numbers of its frames, each after ``seconds``; raises at ``broken``: "sink" or "close"."""

    def __init__(self, broken: str = "", seconds: float = 0.0, live: bool = False) -> None:
        self.name, self.broken, self.seconds, self.live = "recorder", broken, seconds, live
        self.indices: list[tuple[str, int]] = []
        self.closed = False

    def append(self, result: FrameResult) -> None:
        time.sleep(self.seconds)
        if self.broken == "sink" and len(self.indices) == 3:
            raise Oops("sink")
        self.indices.append((result.frame.source, result.frame.index))

    def close(self) -> None:
        self.closed = True
        if self.broken == "close":
            raise Oops("close")


def in_time(work: Callable[[], Any]) -> Any:
    """The result or exception of ``work``, which must not hang."""
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    assert not thread.is_alive(), "the run hangs"
    return outcome[0]


def threads_of_runs() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("edgeface", "sink"))]


@pytest.mark.parametrize("live", [False, True], ids=["file", "file and camera"])
@pytest.mark.parametrize("stage", ["decode", "detect", "attributes", "track", "fuse", "sink", "close", "progress"])
def test_an_error_in_any_stage_ends_the_run_with_its_cause(stage: str, live: bool) -> None:
    sources: list[Source] = [Pictures(broken=stage == "decode"), *([open_source(CAMERA)] if live else [])]
    other = Recorder()

    def progress(done: int, total: int | None) -> None:
        if stage == "progress" and done == 3:
            raise Oops("progress")

    def work() -> RunSummary:
        return run(
            sources,
            Stub(stage),
            Tracker if stage == "track" else KalmanTracker,
            [Recorder(stage), other],
            300 if live else None,
            progress,
            fuser=lambda: Fuser(tiny_spec()) if stage == "fuse" else TrackFuser(tiny_spec()),
        )

    outcome = in_time(work)
    assert isinstance(outcome, Oops) and str(outcome) == stage
    assert other.closed and threads_of_runs() == []


def test_a_slow_file_sink_loses_nothing() -> None:
    slow, fast = Recorder(seconds=0.005), Recorder()
    summary = in_time(lambda: run(Pictures(100), Stub(), sinks=[slow, fast]))
    assert slow.indices == fast.indices == [("made", index) for index in range(100)]
    assert summary.frames == 100 and summary.dropped == 0


def test_a_slow_live_sink_holds_up_nobody() -> None:
    slow, fast = Recorder(seconds=0.2, live=True), Recorder()
    summary = in_time(lambda: run(Pictures(100), Stub(), sinks=[slow, fast]))
    assert summary.frames == len(fast.indices) == 100 and len(slow.indices) < 50
    assert [index for _, index in slow.indices] == sorted({index for _, index in slow.indices})


def test_results_of_each_source_keep_their_order() -> None:
    sources = open_sources([f"{CAMERA}&frames=40&live=1&seed={seed}" for seed in range(3)])
    sink = Recorder()
    summary = in_time(lambda: run([*sources, Pictures(30)], Stub(), sinks=[sink]))
    for source in [*sources, *[summary.sources[3]]]:
        numbers = [index for name, index in sink.indices if name == source.name]
        assert numbers == sorted(set(numbers)) and numbers
    assert [report.state for report in summary.sources] == ["ended"] * 4
    assert [index for name, index in sink.indices if name == "made"] == list(range(30))


def test_a_full_disk_ends_the_run_and_leaves_no_half_file(
    tmp_path: Path,
    tiny_detector: Path,  # noqa: F811
    tiny_model: Path,  # noqa: F811
) -> None:
    with (
        FaceAnalyzer(tiny_detector, tiny_model, threads=1) as analyzer,
        full_disk(),
        pytest.raises(SinkError, match=r"cannot write `.*a\.jsonl`: File too large"),
    ):
        run([*open_sources([CAMERA]), Pictures(2000)], analyzer, sinks=[open_sink(tmp_path / "a.jsonl")])
    assert list(tmp_path.iterdir()) == []


def test_a_camera_faster_than_the_machine_does_not_fall_behind() -> None:
    """60 frames a second into 10: ages stay bounded, and what was decoded was answered or dropped."""
    stats = RunStats()
    with FaultCamera("mjpeg", View(fps=60)) as camera, open_source(camera.uri) as source:
        summary = in_time(lambda: run(source, Stub(seconds=0.1), KalmanTracker, max_frames=30, stats=stats))
    counters = summary.sources[0].counters
    assert summary.frames == 30 and counters.dropped > 60
    assert counters.frames == summary.frames + counters.dropped and summary.sources[0].state == "ended"
    assert summary.ages_ms["max"] < 1500, "a queue would be 2.5 s behind by now"


def test_a_camera_that_is_gone_does_not_stop_the_others() -> None:
    with FaultCamera("mjpeg") as camera:
        uri = camera.uri
    options = SourceOptions(backoff_s=(0.05, 0.1), give_up_s=0.3)
    sources = open_sources([uri, f"{CAMERA}&frames=50&live=1"], options)
    summary = in_time(lambda: run(sources, Stub(), KalmanTracker))
    assert [report.state for report in summary.sources] == ["failed", "ended"]
    assert summary.frames + summary.dropped == 50
    assert len(summary.problems) == 1 and f"`{uri}` failed without a single frame" in summary.problems[0]


@pytest.mark.parametrize("uri", [CAMERA, "stalled"])
def test_another_thread_can_end_it(uri: str) -> None:
    stop = threading.Event()
    with FaultCamera("mjpeg") as camera:
        camera.stall()
        source = open_source(camera.uri if uri == "stalled" else uri, SourceOptions(open_s=1.0))
        threading.Timer(0.3, stop.set).start()
        summary = in_time(lambda: run(source, Stub(), stop=stop))
    assert not summary.interrupted and (summary.frames > 0) == (uri == CAMERA)


def test_pictures_are_not_fused() -> None:
    """Each image of a folder may show someone else."""

    class Stills(Pictures):
        def _frames(self) -> Iterator[Frame]:
            for frame in super()._frames():
                yield Frame(frame.pixels, None, "made", frame.index)

    summary = in_time(lambda: run(Stills(10), Stub(), KalmanTracker, fuser=lambda: TrackFuser(tiny_spec())))
    assert summary.inferences == summary.faces == 10


def test_a_fuser_asks_for_fewer_inferences() -> None:
    summary = in_time(lambda: run(Pictures(100), Stub(), KalmanTracker, fuser=lambda: TrackFuser(tiny_spec())))
    assert summary.faces == 100 and 0 < summary.inferences < 50
    assert "fuse" in summary.stages_ms


def test_the_statistics_line_names_ages_drops_and_states() -> None:
    from edgeface.pipeline.run_stats import StatsMark

    stats = RunStats()
    mark = StatsMark.of(stats)
    source = open_source(f"{CAMERA}&frames=10&live=1")
    in_time(lambda: run(source, Stub(), KalmanTracker, stats=stats))
    line = stats.line(mark)
    assert " frames/s; age p50 " in line and f"; {stats.faces} faces; memory " in line
    assert f"; {source.name} ended: 10 frames, {source.counters.dropped} dropped, 0 reconnects" in line
    assert "faces;" not in stats.line(mark, counts_only=True)
