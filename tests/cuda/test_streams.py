"""Several cameras share one GPU: answered together, each as if it were alone, and none left behind."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.cuda.transfers import H2D
from edgeface.errors import EdgefaceError
from edgeface.gpu.analyzer import GpuAnalyzer
from edgeface.imaging.image_io import read_image
from edgeface.inference.result import Face, FrameResult
from edgeface.pipeline.runner import run
from edgeface.sinks.base import Sink
from edgeface.sources.frame_queue import Counters, Inbox
from edgeface.tracking.fusion import FusionOptions, TrackFuser
from edgeface.tracking.iou import IouTracker
from edgeface.types import Frame, Image
from tests.cuda import emulated
from tests.cuda.pipelines import PORTRAITS
from tests.cuda.test_device import emulated_parts

PIXELS = np.zeros((2, 2, 3), np.uint8)


class Answers(Sink):
    """Keeps the results of every source and tells anyone who waits for one."""

    name = "answers"

    def __init__(self) -> None:
        self.results: dict[str, list[FrameResult]] = {}
        self.order: list[str] = []
        self.changed = threading.Condition()
        self.stopped = False

    def wait_for(self, source: str, count: int) -> bool:
        """Wait for so many results of a source; ``False`` where no more will come."""
        with self.changed:
            return self.changed.wait_for(lambda: self.stopped or len(self.results.get(source, ())) >= count, 60) and (
                not self.stopped
            )

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def append(self, result: FrameResult) -> None:
        with self.changed:
            self.results.setdefault(result.frame.source, []).append(result)
            self.order.append(result.frame.source)
            self.changed.notify_all()

    def close(self) -> None:
        return


@dataclass
class Camera:
    """A live source of these images that gives the next one when the last is answered: no frame is ever dropped."""

    name: str
    pictures: Sequence[Image]
    answers: Answers
    together: threading.Barrier | None = None
    live: bool = True
    frame_count: int | None = None
    problems: list[EdgefaceError] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    state: str = "live"

    def read(self) -> Generator[Frame, None, None]:
        for index, pixels in enumerate(self.pictures):
            if self.together:
                self.together.wait(20)
            self.counters.frames += 1
            yield Frame(pixels, index / 25, self.name, index)
            if not self.answers.wait_for(self.name, index + 1):
                return

    def __iter__(self) -> Iterator[Frame]:
        return self.read()

    def close(self) -> None:
        self.answers.stop()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *exc: object) -> None:
        return


def panned(portrait: Image, count: int, width: int = 200) -> list[Image]:
    """A camera that moves over the portrait."""
    return [np.ascontiguousarray(portrait[:200, 4 * step : 4 * step + width]) for step in range(count)]


def answered(analyzer: GpuAnalyzer, films: dict[str, list[Image]], together: bool) -> tuple[Answers, int]:
    """What a run over cameras with these films answers, and how many tracks there were."""
    answers = Answers()
    barrier = threading.Barrier(len(films)) if together else None
    cameras: list[Any] = [Camera(name, film, answers, barrier) for name, film in films.items()]
    fusion = FusionOptions(every_face=True)
    summary = run(cameras, analyzer, IouTracker, [answers], fuser=lambda: TrackFuser(analyzer.spec, fusion))
    assert all(camera.counters.dropped == 0 for camera in cameras)
    return answers, summary.tracks


def assert_alike(found: Sequence[Face], wanted: Sequence[Face]) -> None:
    assert [face.track for face in found] == [face.track for face in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=0.5)
        assert (one.gender, one.race, one.abstained) == (other.gender, other.race, other.abstained)
        assert one.age == pytest.approx(other.age, abs=0.2)


def test_every_camera_is_answered_as_if_it_were_alone() -> None:
    first, second = (np.ascontiguousarray(read_image(path)[::2, ::2][:250]) for path in PORTRAITS[:2])
    films = {
        "door": panned(first, 6),
        "hall": panned(second, 6),
        "yard": panned(np.hstack([second, first]), 6, width=320),
        "no one": [np.full((200, 200, 3), 90, np.uint8)] * 6,
    }
    with GpuAnalyzer(emulated_parts) as analyzer:
        assert analyzer.batch_size == 8
        alone = {name: answered(analyzer, {name: film}, together=False) for name, film in films.items()}
        analyzer.ledger.frames.clear()
        found, tracks = answered(analyzer, films, together=True)
        shared = [frame.pictures for frame in analyzer.ledger.frames]
        assert all(frame.calls(H2D) == frame.pictures for frame in analyzer.ledger.frames)
    assert sum(shared) == 24 and max(shared) > 1, "several in one go"
    assert tracks == sum(number for _, number in alone.values()) >= 3
    for name, (wanted, _) in alone.items():
        for one, other in zip(found.results[name], wanted.results[name], strict=True):
            assert_alike(one.faces, other.faces)
    assert emulated.alive() == 0


def test_a_slow_camera_is_not_starved_by_fast_ones() -> None:
    """The fast ones always have a frame waiting; the slow one's is served within a round all the same."""
    inbox = Inbox()
    fast = [inbox.open(Counters(), newest=True) for _ in range(5)]
    slow = inbox.open(Counters(), newest=True)
    waited = []
    for turn in range(60):
        for slot in fast:
            slot.put(Frame(PIXELS, None, "fast", turn))
        if turn % 7 == 0:
            slow.put(Frame(PIXELS, None, "slow", turn))
        waited += [turn - one.frame.index for one in inbox.pop_batch(2) if one.frame.source == "slow"]
    assert len(waited) >= 8 and max(waited) <= 3, "six cameras, two at a time: three turns"


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=40), st.integers(1, 8))
def test_nobody_waits_longer_than_a_round(arrivals: list[list[bool]], most: int) -> None:
    inbox = Inbox()
    slots = [inbox.open(Counters(), newest=True) for _ in range(6)]
    passed_over = [0] * 6
    for arriving in arrivals:
        for slot, comes in zip(slots, arriving):
            if comes:
                slot.put(Frame(PIXELS))
        waiting = [bool(slot.waiting) for slot in slots]
        if not any(waiting):
            continue
        served = [one.slot for one in inbox.pop_batch(most)]
        assert len(served) == len(set(served)) == min(most, sum(waiting))
        passed_over = [0 if number in served or not waiting[number] else passed_over[number] + 1 for number in range(6)]
        assert max(passed_over) < -(-6 // most)


def test_a_limit_of_frames_holds_for_all_cameras() -> None:
    answers = Answers()
    film = panned(np.ascontiguousarray(read_image(PORTRAITS[0])[::2, ::2]), 5)
    cameras: list[Any] = [Camera(str(number), film, answers) for number in range(3)]
    with GpuAnalyzer(emulated_parts) as analyzer:
        summary = run(cameras, analyzer, IouTracker, [answers], max_frames=4)
    assert summary.frames == len(answers.order) == 4
