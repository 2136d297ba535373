from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeface.api import FaceAnalyzer
from edgeface.errors import SinkError
from edgeface.inference.result import FrameResult
from edgeface.pipeline.runner import RunSummary, run
from edgeface.sinks.base import Sink
from edgeface.sinks.open import open_sink
from edgeface.sources.open import open_source
from edgeface.tracking.fusion import FusionOptions, TrackFuser
from edgeface.tracking.iou import IouTracker
from edgeface.tracking.kalman import KalmanTracker
from tests.fixtures import CELL, picture, tiny_detector, tiny_model, write_picture  # noqa: F401
from tests.pipeline.clips import moving, write_clip


class ListSink(Sink):
    """Keeps results and whether it was closed."""

    name = "list"

    def __init__(self, fail_at: int | None = None) -> None:
        self.results: list[FrameResult] = []
        self.closed = False
        self.fail_at = fail_at

    def append(self, result: FrameResult) -> None:
        if result.frame.index == self.fail_at:
            raise SinkError("the disk is full")
        self.results.append(result)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def analyzer(tiny_detector: Path, tiny_model: Path) -> Iterator[FaceAnalyzer]:  # noqa: F811
    with FaceAnalyzer(tiny_detector, tiny_model, threads=1) as analyzer:
        yield analyzer


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red square that goes one cell to the right every second frame, and one that stays below."""
    frames = [picture([(1 + index // 2, 1), (2, 6)]) for index in range(10)]
    return write_clip(tmp_path_factory.mktemp("clip") / "walk.mp4", frames)


def test_every_frame_is_answered_in_order(analyzer: FaceAnalyzer, clip: Path) -> None:
    sink = ListSink()
    with open_source(clip) as source:
        summary = run(source, analyzer, IouTracker, [sink])
    assert [result.frame.index for result in sink.results] == list(range(10))
    assert (summary.frames, summary.faces, summary.tracks) == (10, 20, 2)
    assert summary.problems == () and not summary.interrupted and sink.closed


def test_the_same_people_keep_their_numbers(analyzer: FaceAnalyzer, clip: Path) -> None:
    sink = ListSink()
    with open_source(clip) as source:
        run(source, analyzer, IouTracker, [sink])
    by_number = {
        number: [face.box for result in sink.results for face in result.faces if face.track == number]
        for number in (1, 2)
    }
    walker, sitter = sorted(by_number.values(), key=lambda boxes: np.ptp([box[0] for box in boxes]), reverse=True)
    assert len(walker) == len(sitter) == 10
    lefts = [max(0, CELL * (1 + index // 2) - 48) for index in range(10)]
    assert [box[0] for box in walker] == pytest.approx(lefts)
    assert np.ptp([box[0] for box in sitter]) == 0


def test_every_source_has_a_tracker_of_its_own(analyzer: FaceAnalyzer, clip: Path, tmp_path: Path) -> None:
    """The same film twice: the second source's people are numbered as the first's, and count again."""
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    sink = ListSink()
    with open_source(clip) as first, open_source(other) as second:
        summary = run([first, second], analyzer, IouTracker, [sink])
    ids: dict[str, list[list[int | None]]] = {}
    for result in sink.results:
        ids.setdefault(result.frame.source, []).append([face.track for face in result.faces])
    one, two = ids.values()
    assert one == two and one[0][0] == 1
    assert summary.tracks == 2 * len({track for frame in one for track in frame})


def test_without_a_tracker_nobody_has_a_number(analyzer: FaceAnalyzer, clip: Path) -> None:
    sink = ListSink()
    with open_source(clip) as source:
        summary = run(source, analyzer, sinks=[sink])
    assert summary.tracks == 0 and all(face.track is None for result in sink.results for face in result.faces)


def test_it_stops_after_the_frames_asked_for(analyzer: FaceAnalyzer, clip: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    with open_source(clip) as source:
        summary = run(source, analyzer, max_frames=3, on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 10), (2, 10), (3, 10)]
    assert summary.frames == 3 and summary.problems == ()


def test_times_of_all_stages_are_reported(analyzer: FaceAnalyzer, clip: Path) -> None:
    with open_source(clip) as source:
        summary = run(source, analyzer, IouTracker)
    assert list(summary.stages_ms) == ["decode", "detect", "attributes", "track", "sink"]
    for laps in summary.stages_ms.values():
        assert 0 <= laps["p50"] <= laps["p95"] and laps["mean"] > 0
    assert summary.fps == pytest.approx(10 / summary.seconds)
    assert RunSummary(0, 0, 0, 0.0).fps == 0.0


def test_a_video_that_breaks_off_is_answered_so_far(analyzer: FaceAnalyzer, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(40))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    with open_source(path) as source:
        summary = run(source, analyzer, sinks=[open_sink(tmp_path / "a.jsonl"), open_sink(tmp_path / "b.mp4")])
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert 5 < summary.frames == len(lines) < 40
    (problem,) = summary.problems
    assert "broke off after" in problem
    with open_source(tmp_path / "b.mp4") as written:
        assert len(list(written)) == summary.frames


def test_one_bad_picture_among_many_is_reported_and_the_others_answered(analyzer: FaceAnalyzer, tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        write_picture(tmp_path / "in" / name)
    (tmp_path / "in" / "b.jpg").write_text("no image")
    with open_source(tmp_path / "in") as source:
        summary = run(source, analyzer, sinks=[open_sink(tmp_path / "a.jsonl")])
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [(Path(line["path"]).name, len(line["faces"]), line["pts_s"]) for line in lines] == [
        ("a.png", 1, None),
        ("c.png", 1, None),
    ]
    assert len(summary.problems) == 1 and "b.jpg" in summary.problems[0]


def test_ctrl_c_closes_the_sinks_and_gives_the_summary_so_far(
    analyzer: FaceAnalyzer, clip: Path, tmp_path: Path
) -> None:
    def ctrl_c(done: int, total: int | None) -> None:
        if done == 4:
            raise KeyboardInterrupt

    other = ListSink()
    with open_source(clip) as source:
        summary = run(source, analyzer, None, [open_sink(tmp_path / "a.mp4"), other], on_progress=ctrl_c)
    assert summary.interrupted and summary.frames == 4 and other.closed
    with open_source(tmp_path / "a.mp4") as written:
        assert len(list(written)) == len(other.results) == 4


def test_a_failing_sink_ends_the_run_and_the_others_stay_whole(
    analyzer: FaceAnalyzer, clip: Path, tmp_path: Path
) -> None:
    failing = ListSink(fail_at=3)
    with open_source(clip) as source, pytest.raises(SinkError, match="the disk is full"):
        run(source, analyzer, None, [open_sink(tmp_path / "a.jsonl"), failing])
    assert failing.closed
    numbers = [json.loads(line)["frame"] for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(numbers) >= 4 and numbers == list(range(len(numbers)))


@pytest.mark.parametrize(
    ("name", "people"),
    [("face-demographics-walking.mp4", 2), ("head-pose-face-detection-female-and-male.mp4", 2)],
)
def test_people_in_real_clips_keep_their_numbers(
    shared: Path,
    tiny_model: Path,  # noqa: F811
    name: str,
    people: int,
) -> None:
    yunet = shared / "models" / "face_detection_yunet_2026may.onnx"
    sink = ListSink()
    with FaceAnalyzer(yunet, tiny_model, threads=1) as analyzer, open_source(shared / "media" / name) as source:
        summary = run(source, analyzer, IouTracker, [sink])
    assert summary.frames == source.frame_count
    assert summary.tracks == people
    assert all(len(result.faces) == people for result in sink.results)


def test_photographs_follow_nobody(analyzer: FaceAnalyzer, tmp_path: Path) -> None:
    """Different photographs with a face at the same place are not one person; they abstain by the video's limits."""
    for number in range(4):
        write_picture(tmp_path / f"{number}.png", picture([(2, 2)]))
    sink = ListSink()
    with open_source(tmp_path) as source:
        summary = run(source, analyzer, KalmanTracker, [sink], fuser=lambda: TrackFuser(analyzer.spec))
    assert [face.track for result in sink.results for face in result.faces] == [None] * 4
    assert (summary.faces, summary.tracks) == (4, 0)
    limits = FusionOptions()
    for face in (face for result in sink.results for face in result.faces):
        assert face.age_std is not None and face.gender_confidence is not None and face.race_confidence is not None
        assert ("age" in face.abstained) == (face.age_std > limits.age_std_limit)
        assert ("gender" in face.abstained) == (face.gender_confidence < limits.gender_limit)
        assert ("race" in face.abstained) == (face.race_confidence < limits.race_limit)
    assert "gender" in sink.results[0].faces[0].abstained, "the tiny network is 72 % sure"


@pytest.mark.parametrize("tracker", [IouTracker, KalmanTracker])
def test_after_a_hard_cut_people_have_new_numbers(analyzer: FaceAnalyzer, tmp_path: Path, tracker: type) -> None:
    """Ten shots with a face at the same place are ten people; a shot that only moves and darkens is one."""
    dice = np.random.default_rng(4)
    shots = []
    for _ in range(10):
        ground = np.kron(dice.integers(0, 200, (8, 10), dtype=np.uint8), np.ones((32, 32), np.uint8))
        shot = picture([(2, 2)])
        free = shot[..., 0] == shot[..., 1]
        shot[free] = ground[: shot.shape[0], : shot.shape[1], None].repeat(3, axis=2)[free]
        shots.append(shot)
    cut = write_clip(tmp_path / "cut.mp4", [shot for shot in shots for _ in range(6)])
    still = write_clip(tmp_path / "still.mp4", [(shots[0] * (1 - 0.02 * step)).astype(np.uint8) for step in range(12)])
    for clip, people in ((cut, 10), (still, 1)):
        with open_source(clip) as source:
            summary = run(source, analyzer, tracker, [ListSink()], fuser=lambda: TrackFuser(analyzer.spec))
        assert (summary.faces, summary.tracks) == (summary.frames, people)
