"""The detector's network, loss, targets and recipe, on arrays made here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ConfigError, DataError  # noqa: E402
from edgeface.imaging.postprocess import anchors, decode_detector, nms  # noqa: E402
from edgeface.types import Faces  # noqa: E402
from trainer.detector.agreement import Agreement, Answer, agreement, compare  # noqa: E402
from trainer.detector.compose import Composer  # noqa: E402
from trainer.detector.config import Recipe, load_recipe  # noqa: E402
from trainer.detector.detector_losses import detector_loss, eiou_loss, quality_focal_loss  # noqa: E402
from trainer.detector.fit import fit, learning_rate, load_checkpoint  # noqa: E402
from trainer.detector.marked import Marked, MarkedPictures  # noqa: E402
from trainer.detector.network import STRIDES, Detector, ExportedDetector, parameter_count  # noqa: E402
from trainer.detector.paste import paste  # noqa: E402
from trainer.detector.teacher import DenseFaces, targets  # noqa: E402

TINY = Recipe(crop_px=64, stem=8, widths=(8, 16, 16, 16), blocks=(0, 1, 0, 0), neck=16)
FACE = np.array([12.0, 16.0, 44.0, 56.0], np.float32)
MARKS = np.array([[22, 30], [36, 30], [29, 38], [24, 46], [34, 46]], np.float32)


def dense_face(size: int = 64, radius: float = 9.0, score: float = 0.9) -> DenseFaces:
    """A teacher that sees ``FACE`` from every stride-8 cell near its middle, each with a slightly shifted box."""
    points, strides = anchors(size, size, STRIDES)
    near = (np.linalg.norm(points - [28, 36], axis=1) < radius) & (strides == 8)
    scores = np.where(near, score, 0.02).astype(np.float32)
    scores[np.flatnonzero(near)[0]] += 0.05
    boxes = np.tile(FACE, (len(points), 1)) + np.arange(len(points), dtype=np.float32)[:, None] % 3
    return DenseFaces(scores, boxes, np.tile(MARKS, (len(points), 1, 1)))


def batch_of(dense: DenseFaces, image: np.ndarray) -> dict[str, torch.Tensor]:
    answer = targets(dense, MARKS[None])
    arrays = {"image": image, **{field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}}
    return {name: torch.from_numpy(np.ascontiguousarray(array))[None] for name, array in arrays.items()}


def picture(size: int = 64) -> np.ndarray:
    image = np.random.default_rng(3).integers(0, 60, (size, size, 3), np.uint8)
    image[16:56, 12:44] = 210
    image[28:32, 18:26] = image[28:32, 32:40] = 20
    return image


def test_the_shipped_network_keeps_its_parameter_budget() -> None:
    assert parameter_count(Detector(Recipe())) <= 250_000


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 96), (2, 96, 32)])
def test_outputs_follow_the_contract(batch: int, height: int, width: int) -> None:
    model = ExportedDetector(Detector(TINY)).eval()
    image = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8)
    with torch.inference_mode():
        score, box, landmarks = model(image)
    cells = sum((height // stride) * (width // stride) for stride in STRIDES)
    assert score.shape == (batch, cells) and box.shape == (batch, cells, 4) and landmarks.shape == (batch, cells, 10)
    assert all(tensor.dtype == torch.float32 for tensor in (score, box, landmarks))
    assert bool((score >= 0).all()) and bool((score <= 1).all()) and bool((box > 0).all())


def test_targets_share_the_surviving_face_among_its_voters() -> None:
    dense = dense_face()
    answer = targets(dense, MARKS[None] + 1)
    voters = dense.scores >= 0.3
    best = dense.scores.argmax()
    assert voters.sum() > 3
    assert np.array_equal(answer.weights > 0, voters)
    assert np.array_equal(answer.boxes[voters], np.tile(dense.boxes[best], (voters.sum(), 1)))
    assert np.array_equal(answer.mark_weights, answer.weights)
    assert np.array_equal(answer.landmarks[voters][0], MARKS.ravel() + 1), "known landmarks, not the teacher's"
    assert np.array_equal(answer.scores, dense.scores)


@pytest.mark.parametrize(
    "marks", [MARKS[None][:0], MARKS[None] + 30, (MARKS - MARKS.mean(0))[None] * 0.2 + MARKS.mean(0)]
)
def test_landmarks_that_belong_to_no_face_teach_nothing(marks: np.ndarray) -> None:
    answer = targets(dense_face(), marks)
    assert answer.weights.any() and not answer.mark_weights.any()


def test_targets_of_a_picture_without_faces_have_no_weight() -> None:
    answer = targets(dense_face(score=0.1), MARKS[None])
    assert not answer.weights.any() and not answer.mark_weights.any()


def test_quality_focal_loss_is_least_at_the_soft_target() -> None:
    logits = torch.linspace(-4, 4, 81)
    losses = [float(quality_focal_loss(logit[None], torch.tensor([0.6]), torch.ones(1))) for logit in logits]
    assert float(logits[int(np.argmin(losses))].sigmoid()) == pytest.approx(0.6, abs=0.02)


def test_eiou_loss_is_zero_on_the_target_and_grows_with_distance() -> None:
    box = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    losses = [float(eiou_loss(box + shift, box)) for shift in (0.0, 1.0, 5.0, 50.0)]
    assert losses[0] == pytest.approx(0, abs=1e-5)
    assert losses == sorted(losses) and losses[-1] > 1


def test_loss_is_finite_and_learns_nothing_about_boxes_without_faces() -> None:
    model = Detector(TINY)
    batch = batch_of(dense_face(score=0.1), picture())
    with torch.no_grad():
        losses = detector_loss(model(batch["image"]), batch, (64, 64), TINY)
    assert float(losses["box"]) == 0 and float(losses["landmarks"]) == 0
    assert bool(torch.isfinite(losses["total"]))


def test_a_tiny_network_learns_one_picture_by_heart() -> None:
    torch.manual_seed(0)
    model = Detector(TINY).train()
    dense = dense_face()
    batch = batch_of(dense, picture())
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(150):
        losses = detector_loss(model(batch["image"]), batch, (64, 64), TINY)
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
    with torch.inference_mode():
        score, box, landmarks = (part[0].numpy() for part in ExportedDetector(model)(batch["image"]))
    faces = nms(decode_detector(score, box, landmarks, (64, 64), STRIDES, 0.5), 0.3)
    assert len(faces) == 1
    assert np.abs(faces.boxes[0] - dense.boxes[dense.scores.argmax()]).max() < 2
    assert np.abs(faces.landmarks[0] - MARKS).max() < 2


def test_learning_rate_warms_up_and_falls() -> None:
    recipe = Recipe(steps=100, warmup=10, lr=1e-2, lr_final=1e-4)
    rates = [learning_rate(recipe, step) for step in range(101)]
    assert rates[0] == pytest.approx(1e-3) and max(rates) == pytest.approx(1e-2) and rates[-1] == pytest.approx(1e-4)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", "no key `stepz`, the nearest is `steps`"),
        ("steps=many", "`steps`: expected int, found 'many'"),
        ("widths=[1, 2.5]", "`widths`: expected int, found 2.5"),
        ("crop_px=100", "`crop_px`: expected a multiple of 32 from 64, found 100"),
        ("steps", "expected key=value"),
    ],
)
def test_bad_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(None, [override])


def test_settings_override_the_file(tmp_path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('steps = 5\nlr = 1\nout = "here"\n')
    recipe = load_recipe(str(path), ["steps=7", "widths=[1, 2, 3, 4]", "shared=../x"])
    assert (recipe.steps, recipe.lr, recipe.out, recipe.widths) == (7, 1.0, "here", (1, 2, 3, 4))
    assert recipe.shared == "../x"


def test_missing_files_are_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="no recipe at"):
        load_recipe(str(tmp_path / "absent.toml"))
    with pytest.raises(DataError, match="no checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt", Recipe())
    with pytest.raises(DataError, match="cannot read"):
        fit(Recipe(shared=str(tmp_path / "absent"), out=str(tmp_path), steps=1))


def faces_of(*rows: tuple[float, list[float]]) -> Faces:
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    eyes = np.repeat(boxes[:, None, :2], 5, axis=1) + np.array([[0, 0], [10, 0], [5, 5], [2, 9], [8, 9]], np.float32)
    return Faces(boxes, np.array([score for score, _ in rows], np.float32), eyes)


def answer(faces: Faces, steady: np.ndarray | None = None, again: np.ndarray | None = None) -> Answer:
    unknown = np.full((len(faces), 5, 2), np.nan, np.float32)
    return Answer(faces, unknown if steady is None else steady, unknown if again is None else again)


def test_agreement_counts_found_missed_and_false() -> None:
    teacher = faces_of((0.9, [0, 0, 40, 40]), (0.8, [100, 0, 140, 40]))
    found = faces_of((0.9, [2, 0, 42, 40]), (0.7, [3, 0, 43, 40]), (0.6, [300, 0, 340, 40]))
    result = compare(found, answer(teacher))
    assert (result.teacher_faces, result.found, result.false_alarms) == (2, 1, 2)
    assert result.recall == 0.5 and result.precision == pytest.approx(1 / 3)
    assert result.landmark_error == pytest.approx(0.2)
    assert result.steady_errors == ()


def test_steady_landmarks_are_judged_where_they_are_known() -> None:
    teacher = faces_of((0.9, [0, 0, 40, 40]), (0.8, [100, 0, 140, 40]))
    steady = teacher.landmarks.copy()
    steady[0, :, 0] += 3
    steady[1] = np.nan
    result = compare(teacher, answer(teacher, steady))
    assert result.landmark_errors == (0.0, 0.0)
    assert result.steady_errors == pytest.approx((0.3,))
    assert result.summary()["steady_faces"] == 1 and result.summary()["steady_error"] == 0.3


def test_the_teacher_is_judged_by_its_second_look_where_it_finds_the_face_again() -> None:
    teacher = faces_of((0.9, [0, 0, 40, 40]), (0.8, [100, 0, 140, 40]))
    again = teacher.landmarks.copy()
    again[0, :, 1] -= 2
    again[1] = np.nan
    result = compare(teacher, answer(teacher, again=again))
    assert result.teacher_errors == pytest.approx((0.2,)) and result.summary()["teacher_error"] == 0.2
    assert compare(Faces.empty(), answer(teacher, again=again)).teacher_errors == ()


@pytest.mark.parametrize(("score", "side"), [(0.5, 40), (0.9, 23)])
def test_doubtful_and_tiny_faces_count_neither_way(score: float, side: float) -> None:
    teacher = faces_of((score, [0, 0, side, side]))
    for found in (teacher, Faces.empty()):
        result = compare(found, answer(teacher))
        assert (result.teacher_faces, result.found, result.false_alarms) == (0, 0, 0)


def test_agreement_adds_up_over_pictures() -> None:
    one = faces_of((0.9, [0, 0, 40, 40]))
    image = picture()
    total = agreement(lambda _: one, [(image, answer(one)), (image, answer(Faces.empty())), (image, answer(one))])
    assert total == Agreement(3, 2, 2, 1, (0.0, 0.0))
    assert total.summary()["precision"] == 0.6667
    assert Agreement().summary()["recall"] is None


def test_paste_stays_in_place_and_tolerates_every_position() -> None:
    rng = np.random.default_rng(0)
    patch = Marked.bare(np.full((50, 50, 3), 255, np.uint8))
    for centre in ([32.0, 32.0], [0.0, 63.0], [-500.0, 10.0]):
        canvas = Marked.bare(np.zeros((64, 64, 3), np.uint8))
        paste(canvas, patch, 20, np.array(centre), rng)
        rows, columns = np.nonzero(canvas.image.max(axis=2))
        assert (len(rows) > 0) == (centre[0] >= 0)
        if len(rows):
            assert np.abs(rows - centre[1]).max() < 18 and np.abs(columns - centre[0]).max() < 18


def spot() -> Marked:
    """A chip with one white spot, and all five landmarks on it."""
    image = np.zeros((60, 60, 3), np.uint8)
    image[20:24, 34:38] = 255
    return Marked(image, np.tile(np.array([36.0, 22.0], np.float32), (1, 5, 1)))


def brightest(image: np.ndarray) -> np.ndarray:
    """The middle of what is bright, x and y, from the image's corner."""
    rows, columns = np.nonzero(image.max(axis=2) > 90)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


@given(seed=st.integers(0, 10_000), side=st.floats(40, 110))
def test_landmarks_travel_with_a_pasted_patch(seed: int, side: float) -> None:
    canvas = Marked.bare(np.zeros((160, 160, 3), np.uint8))
    paste(canvas, spot(), side, np.array([80.0, 80.0]), np.random.default_rng(seed))
    assert canvas.marks.shape == (1, 5, 2)
    assert np.abs(canvas.marks[0, 0] - brightest(canvas.image)).max() < 1.5


def test_landmarks_follow_mirroring_and_shrinking() -> None:
    chip = Marked(spot().image, np.arange(10, dtype=np.float32).reshape(1, 5, 2))
    flipped = chip.mirrored()
    assert np.array_equal(flipped.marks[0], [[58, 3], [60, 1], [56, 5], [52, 9], [54, 7]])
    assert np.abs(spot().mirrored().marks[0, 0] - brightest(spot().mirrored().image)).max() < 0.1
    small = spot().resized(30, 15)
    assert np.array_equal(small.marks[0, 0], [18, 5.5]) and small.image.shape == (15, 30, 3)


def test_a_face_that_is_pasted_over_is_forgotten() -> None:
    canvas = Marked(np.zeros((100, 100, 3), np.uint8), np.stack([MARKS, MARKS + 60]))
    paste(canvas, Marked.bare(np.zeros((40, 40, 3), np.uint8)), 40, MARKS.mean(axis=0), np.random.default_rng(0))
    assert np.array_equal(canvas.marks, [MARKS + 60])


def test_landmarks_are_found_once_and_only_when_asked_for() -> None:
    asked: list[int] = []

    def find(row: int) -> np.ndarray:
        asked.append(row)
        return MARKS[None]

    pictures = MarkedPictures([picture(), picture()], find)
    assert asked == [] and len(pictures) == 2
    assert np.array_equal(pictures[1].marks, pictures[1].marks) and asked == [1]


def test_every_kind_of_picture_is_composed() -> None:
    rng = np.random.default_rng(1)
    scenes = [Marked.bare(rng.integers(0, 256, shape, np.uint8)) for shape in ((30, 60, 3), (200, 150, 3))]
    chips = [Marked(rng.integers(0, 256, (40, 40, 3), np.uint8), MARKS[None] / 2)]
    composer = Composer([chips, chips], scenes, [], 96)
    for kind in composer.kinds:
        composed = kind(rng)
        assert composed.image.shape == (96, 96, 3) and composed.image.dtype == np.uint8 and composed.image.std() > 0
        assert composed.marks.shape[1:] == (5, 2) and np.isfinite(composed.marks).all()
    first, again = composer(np.random.default_rng(7)), composer(np.random.default_rng(7))
    assert np.array_equal(first.image, again.image) and np.array_equal(first.marks, again.marks)
