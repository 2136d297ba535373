"""Real photographs as training images: labels turn with the pixels, every cell learns what it should."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="no PyTorch here: pip install -e '.[train]'")

from edgeface.errors import ConfigError, DataError  # noqa: E402
from edgeface.imaging.postprocess import anchors  # noqa: E402
from edgeface.runtime.open import open_backend  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from trainer.detector.config import Collection, Recipe, load_recipe  # noqa: E402
from trainer.detector.network import STRIDES, Detector  # noqa: E402
from trainer.detector.paste import degrade  # noqa: E402
from trainer.detector.photos.assign import assign  # noqa: E402
from trainer.detector.photos.photo_crops import Labelled, Photographs, _turned, degrade_light, turned_boxes  # noqa: E402
from trainer.detector.photos.photo_labels import FACE, NO_FACE, UNSURE, label, trained_on, vote  # noqa: E402
from trainer.detector.pretrained import load_onnx_weights  # noqa: E402
from trainer.detector.teacher import Teacher  # noqa: E402

SHIPPED = ROOT / "edgeface" / "assets" / "models" / "detector-street.onnx"
BLOCKS = (1, 3, 4, 4)
MARKS = np.array([[90, 80], [130, 82], [110, 105], [94, 128], [128, 130]], np.float32)
BOX = np.array([70, 50, 150, 160], np.float32)
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]


def marked_photograph() -> tuple[np.ndarray, Labelled]:
    """A photograph whose landmarks are dots of five colours."""
    image = np.full((240, 220, 3), 90, np.uint8)
    for point, colour in zip(MARKS, COLOURS):
        cv2.circle(image, (int(point[0]), int(point[1])), 6, colour, -1)
    one = np.ones(1, np.float32)
    return image, Labelled(b"", (220, 240), BOX[None], one * FACE, MARKS[None], np.zeros((0, 4), np.float32))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.3, 2.0), st.floats(-180, 180), st.integers(0, 2**32 - 1))
def test_landmarks_turn_with_the_pixels(scale: float, angle: float, seed: int) -> None:
    image, labels = marked_photograph()
    ground = np.zeros((320, 320, 3), np.uint8)
    centre = np.array([110.0, 105.0])
    rng = np.random.default_rng(seed)
    view, (boxes, scores, marks) = _turned(image, labels, scale, angle, centre, ground, rng)
    if not len(marks):
        return
    for name, (x, y) in enumerate(marks[0]):
        if 8 < x < 312 and 8 < y < 312:
            found = view[int(y), int(x)].astype(int)
            order = (1, 0, 2, 4, 3)[name] if np.linalg.norm(found - COLOURS[name]) > 160 else name  # mirrored
            assert np.linalg.norm(found - COLOURS[order]) < 120, (name, found)
    middle, size = (boxes[0, :2] + boxes[0, 2:]) / 2, boxes[0, 2:] - boxes[0, :2]
    assert np.all(np.abs(marks[0].mean(axis=0) - middle) < 0.25 * size)


@settings(max_examples=60, deadline=None)
@given(st.floats(-180, 180), st.floats(0.2, 3.0))
def test_a_turned_box_is_that_of_the_turned_ellipse(angle: float, scale: float) -> None:
    matrix = np.asarray(cv2.getRotationMatrix2D((110, 105), angle, scale))
    around = np.linspace(0, 2 * np.pi, 400)
    middle, half = (BOX[:2] + BOX[2:]) / 2, (BOX[2:] - BOX[:2]) / 2
    points = (middle + half * np.stack([np.cos(around), np.sin(around)], 1)) @ matrix[:, :2].T + matrix[:, 2]
    wanted = np.concatenate([points.min(axis=0), points.max(axis=0)])
    np.testing.assert_allclose(turned_boxes(BOX[None], matrix)[0], wanted, atol=0.02 * scale * 110)


@pytest.mark.parametrize(("side", "stride"), [(14, 8), (30, 8), (90, 16), (200, 32)])
def test_the_middle_cells_of_the_stride_that_sees_a_face_learn_it(side: int, stride: int) -> None:
    box = np.array([[160 - side / 2, 160 - side / 2, 160 + side / 2, 160 + side / 2]], np.float32)
    learnt = assign(box, np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), 320, 320)
    points, strides = anchors(320, 320, STRIDES)
    positive = learnt.weights > 0
    assert positive.any() and set(strides[positive]) == {stride}
    assert np.abs(points[positive] - 160).max() <= max(0.3 * side, stride)
    np.testing.assert_array_equal(learnt.boxes[positive], np.repeat(box, positive.sum(), axis=0))
    assert not learnt.mark_weights.any(), "landmarks are unknown"
    far = np.abs(points - 160).max(axis=1) > side
    assert learnt.care[far].all() and not learnt.scores[far].any()
    assert (learnt.care[positive] == 1).all() and learnt.scores[positive].min() > 0.6


def test_nothing_is_learnt_on_a_face_that_counts_neither_way() -> None:
    box = np.array([[100, 100, 160, 170]], np.float32)
    learnt = assign(box, np.array([UNSURE], np.float32), MARKS[None], 320, 320)
    points, _ = anchors(320, 320, STRIDES)
    inside = np.abs(points - [130, 135]).max(axis=1) < 12
    assert not learnt.weights.any() and not learnt.scores.any() and not learnt.care[inside].any()


def test_light_changes_keep_the_channels() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    for seed in range(40):
        out = degrade_light(red, np.random.default_rng(seed))
        assert (out[..., 0] > out[..., 2]).all() and not out[..., 1].any()


def test_a_cameras_faults_keep_the_channels() -> None:
    """Noise, blur and JPEG: a red image stays red, a blue one blue (grey at times, then both alike)."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        image = np.zeros((32, 32, 3), np.uint8)
        image[..., 2 * (seed % 2)] = 220
        strong, weak = (degrade(image, rng)[..., c].astype(float).mean() for c in (2 * (seed % 2), 2 - 2 * (seed % 2)))
        assert strong >= weak - 1 and strong > 20, seed


def test_a_network_goes_on_from_the_shipped_file_without_a_difference() -> None:
    recipe = load_recipe(ROOT / "trainer" / "detector" / "photos.toml", ["photographs=[]"])
    model = Detector(recipe).eval()
    assert recipe.blocks == recipe.start_blocks and load_onnx_weights(model, SHIPPED) >= 50
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3), np.uint8)
    expected = open_backend(SHIPPED, threads=1).infer({"image": image})
    with torch.inference_mode():
        logits, box, landmarks = model(torch.from_numpy(image))
    np.testing.assert_allclose(logits.sigmoid(), expected["score"], atol=1e-4)


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(ConfigError, match="kernel"):
        load_onnx_weights(Detector(Recipe(folded=True, neck=32, blocks=BLOCKS, start_blocks=BLOCKS)), SHIPPED)


@pytest.mark.parametrize(
    ("name", "rule", "kept"),
    [
        ("UTK/25_0_1_20170116174525125.jpg", "date", True),
        ("n/000001.jpg", "", True),
        ("scenes/n01514859_hen.webp", "scene", True),
    ],
)
def test_folds_decide_what_is_trained_on(name: str, rule: str, kept: bool) -> None:
    assert trained_on(name, Collection("x.zip", fold_by=rule)) is kept
    assert not trained_on(name, Collection("x.zip", fold_by=rule, leave_out=(Path(name).stem,)))


def test_missing_photographs_and_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photographs at"):
        Photographs(Recipe(photographs=(Collection(str(tmp_path / "a.zip")),)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w"):
        pass
    with pytest.raises(DataError, match="python -m trainer.detector label"):
        Photographs(Recipe(photographs=(Collection(str(tmp_path / "a.zip")),)))
    with pytest.raises(DataError, match=r"\[\[photographs\]\]"):
        Photographs(Recipe())


@pytest.fixture
def teacher(shared: Path) -> Teacher:
    return Teacher(shared / "models" / "face_detection_yunet_2026may.onnx")


def portraits_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for photo in sorted((ROOT / "edgeface" / "assets" / "photos").glob("*.jpg")):
            archive.write(photo, photo.name)
    return path


def test_photographs_are_labelled_and_cropped(tmp_path: Path, teacher: Teacher) -> None:
    collection = Collection(str(portraits_zip(tmp_path / "portraits.zip")))
    path = label(collection, teacher, lambda done, of: None)
    with np.load(path) as table:
        assert sorted(table.files) == ["eileen-collins.jpg", "grace-hopper.jpg"]
        assert all((table[name][:, 4] == FACE).sum() == 1 for name in table.files)
    recipe = Recipe(photographs=(collection,), hard_fraction=0.0)
    photographs, faces = Photographs(recipe), 0
    for number in range(12):
        image, learnt = photographs(np.random.default_rng(number))
        again, _ = photographs(np.random.default_rng(number))
        assert image.shape == (320, 320, 3) and image.dtype == np.uint8
        np.testing.assert_array_equal(image, again)
        faces += bool((learnt.weights > 0).any())
    assert faces >= 8


def test_photographs_without_people_become_hard_negatives(tmp_path: Path, teacher: Teacher) -> None:
    collection = Collection(str(portraits_zip(tmp_path / "portraits.zip")), empty_prefix="grace")
    with np.load(label(collection, teacher, lambda done, of: None)) as table:
        assert set(table["grace-hopper.jpg"][:, 4]) == {NO_FACE}
        assert FACE in table["eileen-collins.jpg"][:, 4]


def test_votes_find_a_mirrored_face_in_the_mirrored_place(teacher: Teacher) -> None:
    photo = cv2.imread(str(ROOT / "edgeface" / "assets" / "photos" / "eileen-collins.jpg"))[:, :, ::-1]
    plain, turned = vote(teacher, np.ascontiguousarray(photo)), vote(teacher, np.ascontiguousarray(photo[:, ::-1]))
    expected = photo.shape[1] - plain.faces.boxes[0, [2, 0]]
    np.testing.assert_allclose(turned.faces.boxes[0, [0, 2]], expected, atol=0.02 * photo.shape[1])
