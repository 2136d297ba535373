"""Crops of labelled faces: in the data's order, with their labels, and nothing lost without being named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import DataError
from edgeface.evaluation.datasets import FaceSet, LabelledFace, find_faces
from edgeface.evaluation.labelled_crops import labelled_crops, thinned
from edgeface.types import Faces, Image
from tests.fixtures import SIZE, tiny_spec, write_picture


def face_in_light_pictures(image: Image) -> Faces:
    """A detector that sees a face, filling the middle, in every image that is not dark."""
    if image.mean() < 50:
        return Faces.empty()
    height, width = image.shape[:2]
    box = np.array([[0.1 * width, 0.1 * height, 0.9 * width, 0.9 * height]])
    marks = np.array([[[0.35, 0.4], [0.65, 0.4], [0.5, 0.6], [0.4, 0.8], [0.6, 0.8]]]) * [width, height]
    return Faces(box, [0.9], marks)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Three plain grey chips in two folders, their grey being the age; one broken file, one without a label."""
    for age, name in ((20, "a/20_0_1_1.png"), (60, "a/60_1_2_2.png"), (90, "b/90_1_4_3.png")):
        write_picture(tmp_path / name, np.full((50, 40, 3), age, np.uint8))
    (tmp_path / "b" / "33_0_0_4.jpg").write_text("no image")
    write_picture(tmp_path / "b" / "33_0_5.png")
    return tmp_path


def test_rows_belong_together(people: Path) -> None:
    crops = labelled_crops(find_faces([people / "a", people / "b"]), tiny_spec())
    assert crops.pixels.shape == (3, SIZE, SIZE, 3)
    assert crops.pixels.dtype == np.uint8
    assert crops.names == ("20_0_1_1.png", "60_1_2_2.png", "90_1_4_3.png")
    np.testing.assert_array_equal(crops.pixels.mean(axis=(1, 2, 3)), crops.labels.age)
    np.testing.assert_array_equal(crops.labels.gender, [0, 1, 1])
    np.testing.assert_array_equal(crops.labels.race, [1, 2, 4])
    assert len(crops) == 3


def test_what_is_left_out_is_named(people: Path) -> None:
    crops = labelled_crops(find_faces([people / "a", people / "b"]), tiny_spec())
    assert crops.unreadable == ("`33_0_0_4.jpg` cannot be decoded as an image: it holds text",)
    assert [name.split(" ")[0] for name in crops.skipped] == ["33_0_5.png"]


def test_missed_faces_are_marked_in_their_rows(people: Path) -> None:
    crops = labelled_crops(find_faces([people]), tiny_spec(), face_in_light_pictures)
    assert dict(zip(crops.names, crops.found.tolist())) == {
        "a/20_0_1_1.png": False,
        "a/60_1_2_2.png": True,
        "b/90_1_4_3.png": True,
    }
    assert labelled_crops(find_faces([people]), tiny_spec()).found.all()


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_the_batch_changes_nothing_but_the_progress(people: Path, batch: int) -> None:
    seen: list[tuple[int, int]] = []
    data = find_faces([people])
    crops = labelled_crops(data, tiny_spec(), progress=lambda *at: seen.append(at), batch=batch)
    np.testing.assert_array_equal(crops.pixels, labelled_crops(data, tiny_spec()).pixels)
    assert len(seen) == -(-4 // batch)
    assert seen[-1] == (4, 4)


def test_nothing_to_work_with(tmp_path: Path) -> None:
    (tmp_path / "9_0_0_9.jpg").write_text("no image")
    with pytest.raises(DataError, match="^no image to work with: `9_0_0_9.jpg` cannot be decoded"):
        labelled_crops(find_faces([tmp_path]), tiny_spec())
    with pytest.raises(DataError, match="^no image to work with: the data are empty$"):
        labelled_crops([], tiny_spec())


@pytest.mark.parametrize(("limit", "kept"), [(1, [1, 0]), (2, [1, 1]), (3, [2, 1]), (4, [2, 2]), (9, [2, 2])])
def test_a_limit_thins_evenly(limit: int, kept: Sequence[int]) -> None:
    faces = tuple(LabelledFace(str(number), 0) for number in range(2))
    data = [FaceSet(Path("a"), faces, ()), FaceSet(Path("b"), faces, ("x",))]
    out = thinned(data, limit)
    assert [len(item.faces) for item in out] == kept
    assert out[1].skipped == ("x",)
