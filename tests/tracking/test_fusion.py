"""Which faces are looked at when, what comes out for all of them, and that nothing is asked for in vain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.api import FaceAnalyzer
from edgeface.errors import ConfigError
from edgeface.inference.result import faces_from
from edgeface.pipeline.runner import run
from edgeface.sinks.base import MemorySink
from edgeface.sources.open import open_source
from edgeface.spec.model import default_heads
from edgeface.tracking.fusion import FusionOptions, Plan, TrackFuser
from edgeface.tracking.kalman import KalmanTracker
from edgeface.tracking.posterior import PosteriorOptions
from edgeface.types import Attributes, Faces, Frame, Fused, Image, Tracks
from tests.fixtures import picture, tiny_detector, tiny_model, tiny_spec  # noqa: F401
from tests.pipeline.clips import write_clip

FPS = 25
SIDE = 80
WIDTH = 640


def scene(looks: Sequence[int], at: float = 0.0, shift: float = 0.0, sharp: bool = True) -> tuple[Frame, Faces]:
    """A frame at ``at`` seconds with a row of faces; the number of each chooses its texture, equal ones look alike."""
    pixels = np.full((200, WIDTH, 3), 90, np.uint8)
    boxes = []
    for place, look in enumerate(looks):
        left = int(10 + place * (SIDE + 20) + shift)
        texture = np.random.default_rng(look).integers(30, 220, (8, 8, 1)).astype(np.uint8)
        face = np.kron(texture, np.ones((SIDE // 8, SIDE // 8, 3), np.uint8))
        noise = np.random.default_rng(look).integers(-25, 25, face.shape) if sharp else 0
        pixels[60 : 60 + SIDE, left : left + SIDE] = np.clip(face + noise, 0, 255)
        boxes.append([left, 60, left + SIDE, 60 + SIDE])
    count = len(boxes)
    return Frame(pixels, at), Faces(np.reshape(boxes, (count, 4)), np.full(count, 0.95), np.full((count, 5, 2), np.nan))


def said(count: int, age: float = 30.0, male: float = 0.9) -> Attributes:
    return Attributes(
        np.full(count, age),
        np.full(count, 5.0),
        np.tile([male, 1 - male], (count, 1)),
        np.tile([0.8, 0.05, 0.05, 0.05, 0.05], (count, 1)),
    )


def step(
    fuser: TrackFuser, looks: Sequence[int], frame: int, ids: Sequence[int] | None = None, **answers: float
) -> tuple[Plan, Fused]:
    plan = fuser.plan(*scene(looks, frame / FPS), Tracks(list(range(1, len(looks) + 1)) if ids is None else ids))
    return plan, fuser.fuse(plan, said(int(plan.due.sum()), **answers))


def fuser_of(**options: object) -> TrackFuser:
    return TrackFuser(tiny_spec(), FusionOptions(**options))  # type: ignore[arg-type]


def test_a_new_face_is_due_at_once_and_a_known_one_rarely() -> None:
    fuser = fuser_of()
    due = [bool(step(fuser, [7], frame)[0].due[0]) for frame in range(100)]
    assert due[0] and 4 <= sum(due) <= 20
    assert sum(due[:50]) >= sum(due[50:]), "often at first, then rarely"
    assert fuser.counters.faces == 100 and fuser.counters.inferred == sum(due) and fuser.counters.tracks == 1


def test_a_known_face_is_looked_at_again_after_a_while() -> None:
    fuser = fuser_of(refresh_s=2.0, gain=1e6)
    due = [frame for frame in range(120) if step(fuser, [7], frame)[0].due[0]]
    assert due == [0, 50, 100]


def test_somebody_else_in_the_same_place_is_looked_at_at_once_and_answered_anew() -> None:
    fuser = fuser_of()
    for frame in range(50):
        _, before = step(fuser, [7], frame, age=30.0, male=0.95)
    plan, _ = step(fuser, [8], 50, age=70.0, male=0.05)
    assert plan.changed.all() and plan.due.all() and fuser.counters.changed == 1
    for frame in range(51, 75):
        _, after = step(fuser, [8], frame, age=70.0, male=0.05)
    assert before.age[0] == pytest.approx(30) and after.age[0] > 60
    assert (before.gender_label[0], after.gender_label[0]) == (0, 1)


def test_a_jump_of_the_box_is_a_change_a_step_is_none() -> None:
    fuser = fuser_of(gain=1e6)
    step(fuser, [7], 0)
    near = fuser.plan(*scene([7], 1 / FPS, shift=20), Tracks([1]))
    far = fuser.plan(*scene([7], 2 / FPS, shift=250), Tracks([1]))
    assert not near.changed.any() and not near.due.any()
    assert far.changed.all() and far.due.all()


def test_a_much_better_look_is_taken_at_once() -> None:
    fuser = fuser_of()
    for frame in range(30):
        pixels, faces = scene([7], frame / FPS)
        small = Faces(faces.boxes, np.full(1, 0.5), faces.landmarks)
        plan = fuser.plan(pixels, small, Tracks([1]))
        fuser.fuse(plan, said(int(plan.due.sum())))
    due = [bool(step(fuser, [7], 30 + frame)[0].due[0]) for frame in range(4)]
    assert any(due), "a score of 0.95 after 0.5 is worth a look within a moment"


def test_the_budget_takes_new_faces_first_and_the_others_wait_abstaining() -> None:
    fuser = fuser_of(per_frame=2)
    plan, fused = step(fuser, [1, 2, 3, 4, 5], 0)
    assert plan.due.sum() == 2
    waiting = ~plan.due
    assert np.isnan(fused.age[waiting]).all() and (fused.gender_label[waiting] == -1).all()
    assert fused.abstained[waiting].all() and not fused.abstained[plan.due].any()
    for frame in (1, 2):
        plan, fused = step(fuser, [1, 2, 3, 4, 5], frame)
        assert plan.due.sum() <= 2
    assert not np.isnan(fused.age).any()
    assert [fuser.plan(*scene([1, 2, 9], 3 / FPS), Tracks([1, 2, 6])).due.tolist()] == [[False, False, True]]


def test_without_a_track_every_frame_is_a_first_one() -> None:
    fuser = fuser_of()
    for frame in range(10):
        plan, fused = step(fuser, [7], frame, ids=[-1], age=20.0 + frame)
        assert plan.due.all() and fused.age[0] == pytest.approx(20 + frame)
    assert fuser.counters.tracks == 0


def test_an_analyzer_of_one_pass_has_all_its_answers_used() -> None:
    fuser = fuser_of(every_face=True, per_frame=1)
    assert all(step(fuser, [1, 2, 3], frame)[0].due.all() for frame in range(20))


def test_rows_keep_their_faces_order() -> None:
    fuser = fuser_of(gain=1e6, posterior=PosteriorOptions(band=0.0))
    frame, faces = scene([1, 2, 3])
    plan = fuser.plan(frame, faces, Tracks([11, 12, 13]))
    ages = Attributes([10, 20, 30], [5, 5, 5], np.tile([0.9, 0.1], (3, 1)), np.full((3, 5), 0.2))
    fuser.fuse(plan, ages)
    frame, faces = scene([3, 1, 4, 2], 1 / FPS)
    plan = fuser.plan(frame, faces, Tracks([13, 11, 14, 12]))
    assert plan.due[2] and fuser.fuse(plan, said(int(plan.due.sum()), age=40.0)).age[2] == pytest.approx(40)
    quiet = fuser_of(gain=1e6, jump=100.0)
    quiet.fuse(quiet.plan(*scene([1, 2, 3]), Tracks([11, 12, 13])), ages)
    plan = quiet.plan(*scene([3, 1, 2], 1 / FPS), Tracks([13, 11, 12]))
    assert not plan.due.any()
    assert quiet.fuse(plan, Attributes.empty()).age.tolist() == pytest.approx([30, 10, 20])


def test_flicker_is_held_and_reported_as_it_is() -> None:
    fuser = fuser_of(every_face=True)
    rng = np.random.default_rng(3)
    answers = [(30 + 8 * rng.standard_normal(), 0.62 + 0.25 * rng.standard_normal()) for _ in range(100)]
    rows = [
        step(fuser, [7], frame, age=age, male=float(np.clip(male, 0.01, 0.99)))[1]
        for frame, (age, male) in enumerate(answers)
    ]
    said_flips = sum((a[1] > 0.5) != (b[1] > 0.5) for a, b in zip(answers, answers[1:]))
    held_flips = sum(a.gender_label[0] != b.gender_label[0] for a, b in zip(rows, rows[1:]))
    assert said_flips > 20 and held_flips <= 2
    assert np.std([row.age[0] for row in rows[25:]]) < np.std([age for age, _ in answers[25:]]) / 4
    face = faces_from(scene([7])[1], rows[-1], tiny_spec(), Tracks([1]))[0]
    held = int(rows[-1].gender_label[0])
    assert face.gender == ("male", "female")[held]
    assert face.gender_confidence == pytest.approx(float(rows[-1].gender[0, held]))


def test_the_unsure_abstains_and_says_so_in_json() -> None:
    fuser = fuser_of()
    plan = fuser.plan(*scene([7]), Tracks([1]))
    unsure = Attributes([40.0], [14.0], [[0.55, 0.45]], [[0.3, 0.3, 0.2, 0.1, 0.1]])
    (face,) = faces_from(scene([7])[1], fuser.fuse(plan, unsure), tiny_spec(), Tracks([1]))
    data = face.to_dict()
    assert data["abstained"] == ["age", "gender", "race"]
    assert data["age"] == pytest.approx(40) and data["gender"] == "male", "the guess is still there"


def test_a_waiting_face_is_null_in_json() -> None:
    fuser = fuser_of(per_frame=1)
    plan = fuser.plan(*scene([1, 2]), Tracks([1, 2]))
    faces = faces_from(scene([1, 2])[1], fuser.fuse(plan, said(1)), tiny_spec(), Tracks([1, 2]))
    waiting = faces[int(np.flatnonzero(~plan.due)[0])].to_dict()
    assert [waiting[key] for key in ("age", "age_std", "gender", "gender_confidence", "race")] == [None] * 5
    assert waiting["abstained"] == ["age", "gender", "race"] and waiting["track"] in (1, 2)


def test_a_head_that_the_network_lacks_never_abstains() -> None:
    spec = tiny_spec(heads=tuple(head for head in default_heads() if head.name == "gender"))
    fuser = TrackFuser(spec)
    plan = fuser.plan(*scene([7]), Tracks([1]))
    only = Attributes([math.nan], [math.nan], [[0.5, 0.5]], np.full((1, 5), math.nan))
    (face,) = faces_from(scene([7])[1], fuser.fuse(plan, only), spec, Tracks([1]))
    assert face.abstained == ("gender",) and face.age is None and face.race is None


def test_tracks_long_gone_are_forgotten() -> None:
    fuser = fuser_of()
    for frame in range(0, 3000, 5):
        step(fuser, [7], frame, ids=[frame + 1])
    assert fuser.counters.tracks <= 10 * FPS / 5 + 2
    fuser.forget()
    step(fuser, [7], 0)
    assert fuser.counters.tracks == 1


def test_a_stream_whose_clock_jumps_back_goes_on() -> None:
    fuser = fuser_of()
    for frame in [*range(50), *range(10)]:
        _, fused = step(fuser, [7], frame)
    assert fused.age[0] == pytest.approx(30) and 2 <= fuser.counters.inferred < 25


def test_another_number_of_rows_is_refused() -> None:
    fuser = fuser_of()
    plan = fuser.plan(*scene([1, 2]), Tracks([1, 2]))
    with pytest.raises(ValueError, match="expected a row for each of 2 faces that are due, found 3"):
        fuser.fuse(plan, said(3))


def test_no_faces_are_no_rows() -> None:
    fuser = fuser_of()
    plan, fused = step(fuser, [], 0)
    assert len(plan.due) == 0 and len(fused) == 0 and isinstance(fused, Fused)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(-1, 4), max_size=4, unique=True), max_size=12), st.integers(1, 3))
def test_every_face_has_a_row_and_the_budget_holds(frames: list[list[int]], per_frame: int) -> None:
    fuser = fuser_of(per_frame=per_frame)
    for index, ids in enumerate(frames):
        plan, fused = step(fuser, [abs(number) for number in ids], index, ids=ids)
        assert plan.due.sum() <= per_frame and len(fused) == len(ids)
        known = ~np.isnan(fused.age)
        assert known[plan.due].all() and ((fused.gender_label >= 0) == known).all()
        assert (fused.age_std[known] > 0).all()


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("per_frame", 0, "per_frame: expected 1 face or more, found 0"),
        ("gain", 0.0, "gain: expected a number above 0, found 0.0"),
        ("refresh_s", math.nan, "refresh_s: expected a number above 0, found nan"),
        ("race_limit", 1.5, "race_limit: expected a number from 0 to 1, found 1.5"),
    ],
)
def test_settings_out_of_range_are_named(setting: str, value: float, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        fuser_of(**{setting: value})


class CountingAnalyzer(FaceAnalyzer):
    """Counts the faces its network was asked for."""

    asked = 0

    def __init__(self, detector: Path, model: Path) -> None:
        super().__init__(detector, model, threads=1)
        inner = self.attributes

        def counted(image: Image, faces: Faces) -> Attributes:
            self.asked += len(faces)
            return inner(image, faces)

        self.attributes = counted  # type: ignore[assignment]
        self._inner = inner

    @property
    def spec(self):  # type: ignore[no-untyped-def]
        return self._inner.spec

    def close(self) -> None:
        self.detector.close()
        self._inner.close()


def test_a_run_answers_every_face_and_asks_the_network_rarely(
    tiny_detector: Path,  # noqa: F811
    tiny_model: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    clip = write_clip(tmp_path / "a.mp4", [picture([(1 + index // 10, 1), (2, 6)]) for index in range(40)])
    sink = MemorySink()
    with CountingAnalyzer(tiny_detector, tiny_model) as analyzer, open_source(clip) as source:
        summary = run(source, analyzer, KalmanTracker, [sink], fuser=lambda: TrackFuser(analyzer.spec))
        asked = analyzer.asked
    assert (summary.frames, summary.faces, summary.tracks) == (40, 80, 2)
    assert all(face.age is not None and face.gender is not None for result in sink.results for face in result.faces)
    assert asked <= 80 / 3
