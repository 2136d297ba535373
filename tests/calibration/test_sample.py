"""The draw is even, repeatable, independent of how the data lie about, and free of look-alikes."""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from edgeface.calibration import CalibrationSet, draw
from edgeface.calibration.images import LOOK_ALIKE_LEVELS, nearest, thumbnail
from edgeface.calibration.sample import _take_turns
from edgeface.errors import CalibrationError
from edgeface.evaluation.datasets import FaceSet, find_faces, in_folds
from tests.calibration.people import add_person, pattern, stamp


def strata(calibration: CalibrationSet) -> Counter[str]:
    return Counter(file.stratum for file in calibration.files)


def test_strata_are_as_even_as_the_data_allow(data: tuple[FaceSet, ...]) -> None:
    found = strata(draw(data, 12, 1))
    assert found.pop("male Indian 3-9") == 1
    assert found.pop("female Asian 3-9") == 2
    assert sorted(found.values()) == [4, 5]
    assert set(found) == {"male White 20-29", "female Black 70+"}


def test_every_beginning_is_even_too(drawn: CalibrationSet) -> None:
    assert len({file.stratum for file in drawn.files[:4]}) == 4
    assert len({file.stratum for file in drawn.files[:3]}) == 3


@hypothesis.given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 40))
def test_no_queue_is_short_while_another_has_two_more(lengths: list[int], size: int) -> None:
    queues = [[f"{queue}-{item}" for item in range(length)] for queue, length in enumerate(lengths)]
    taken = _take_turns(queues, size)
    assert len(taken) == len(set(taken)) == min(size, sum(lengths))
    counts = Counter(int(name.split("-")[0]) for name in taken)
    most = max(counts.values(), default=0)
    assert all(counts[queue] >= min(length, most - 1) for queue, length in enumerate(lengths))


def test_only_training_folds_are_drawn_from(data: tuple[FaceSet, ...], drawn: CalibrationSet) -> None:
    training = {face.name for part in data for face in in_folds(part.faces, range(3, 10))}
    assert {file.name for file in drawn.files} <= training
    assert drawn.folds == (3, 4, 5, 6, 7, 8, 9)
    only_four = draw(data, 5, 1, folds=[4])
    assert {file.name for file in only_four.files} <= {f.name for s in data for f in in_folds(s.faces, [4])}
    assert only_four.folds == (4,)


def test_files_are_named_by_content(crowd: Path, drawn: CalibrationSet) -> None:
    for file in drawn.files:
        assert file.sha256 == hashlib.sha256((crowd / file.name).read_bytes()).hexdigest()


def test_the_seed_decides(data: tuple[FaceSet, ...], drawn: CalibrationSet) -> None:
    assert draw(data, 12, 1) == draw(data, 12, 1)
    assert draw(data, 12, 1).digest == drawn.digest
    assert draw(data, 12, 2).digest != drawn.digest
    assert "--size 12 --seed 1 --folds 3-9" in drawn.how


def test_the_place_of_the_data_does_not_matter(crowd: Path, tmp_path: Path, drawn: CalibrationSet) -> None:
    halves = tmp_path / "a", tmp_path / "b.zip"
    halves[0].mkdir()
    with zipfile.ZipFile(halves[1], "w") as archive:
        for number, path in enumerate(sorted(crowd.iterdir(), reverse=True)):
            if number % 2:
                shutil.copy(path, halves[0])
            else:
                archive.write(path, f"UTKFace/{path.name}")
    again = draw(find_faces([halves[1], halves[0]]), 12, 1)
    assert [file.sha256 for file in again.files] == [file.sha256 for file in drawn.files]


def test_data_named_twice_count_once(crowd: Path, drawn: CalibrationSet) -> None:
    assert draw(find_faces([crowd, crowd]), 12, 1).digest == drawn.digest


def test_look_alikes_of_held_out_pictures_are_left_out(tmp_path: Path) -> None:
    shown_twice = pattern(7, 64)
    twin = add_person(tmp_path, (25, 0, 0), 3, 0, shown_twice, suffix="webp")  # re-encoded, under another date
    fine = [add_person(tmp_path, (25, 0, 0), 3, number) for number in range(1, 4)]
    add_person(tmp_path, (61, 1, 4), 1, 0, shown_twice, suffix="jpg")
    found = draw(find_faces([tmp_path]), 3, 1)
    assert sorted(file.name for file in found.files) == sorted(fine)
    with pytest.raises(CalibrationError) as caught:
        draw(find_faces([tmp_path]), 4, 1, name="four")
    assert str(caught.value) == (
        "calibration set `four`: expected 4 images, the data have 3 usable images in its folds (look-alikes left "
        "out: 1)"
    )
    assert twin not in {file.name for file in found.files}


def test_look_alikes_of_each_other_are_drawn_once(tmp_path: Path) -> None:
    twins = {add_person(tmp_path, (25, 0, 0), 3, number, pattern(7)) for number in range(2)}
    others = {add_person(tmp_path, (25, 0, 0), 3, number) for number in range(2, 5)}
    names = {file.name for file in draw(find_faces([tmp_path]), 4, 1).files}
    assert others < names
    assert len(names & twins) == 1


@pytest.mark.parametrize("size", [0, -1])
def test_no_size(data: tuple[FaceSet, ...], size: int) -> None:
    with pytest.raises(CalibrationError, match=f"expected a size of 1 or more, found {size}"):
        draw(data, size, 1)


def test_held_out_folds_are_refused(data: tuple[FaceSet, ...]) -> None:
    with pytest.raises(CalibrationError, match="fold 1, 2 is held out for judging, draw from others"):
        draw(data, 5, 1, folds=[1, 2, 3])


def test_a_broken_picture_is_an_error(tmp_path: Path) -> None:
    name = add_person(tmp_path, (25, 0, 0), 3, 0)
    (tmp_path / name).write_text("no image")
    add_person(tmp_path, (25, 0, 0), 3, 1)
    with pytest.raises(CalibrationError, match=f"^calibration set `two`: `{re.escape(name)}` cannot be decoded"):
        draw(find_faces([tmp_path]), 2, 1, name="two")


def test_intervals_make_strata_too(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(4)]
    for number, name in enumerate(names):
        add_person(tmp_path, (1, 0, 0), 3, number)
        (tmp_path / f"1_0_0_{stamp(3, number)}.png").rename(tmp_path / name)
    labels = tmp_path / "labels.csv"
    labels.write_text("file,age,gender,race\n" + "".join(f"{name},30-39,Female,Middle Eastern\n" for name in names))
    data = find_faces([tmp_path], labels)
    folds = {face.fold for part in data for face in part.faces}
    assert strata(draw(data, 4, 1, folds=folds, held_out=())) == {"female Others 30-39": 4}


@hypothesis.given(st.integers(0, 10_000), st.sampled_from([40, 64, 200]), st.integers(60, 100))
def test_a_thumbnail_survives_encoding_and_scaling(seed: int, side: int, quality: int) -> None:
    import cv2

    image = cv2.GaussianBlur(pattern(seed, 128), (0, 0), 6)
    ok, data = cv2.imencode(".jpg", cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), [1, quality])
    again = cv2.imdecode(data, cv2.IMREAD_COLOR)
    other = cv2.GaussianBlur(pattern(seed + 1, 128), (0, 0), 6)
    distances, _ = nearest(np.stack([thumbnail(again), thumbnail(other)]), thumbnail(image)[None])
    assert distances[0] <= LOOK_ALIKE_LEVELS < distances[1]


def test_nearest_of_nothing() -> None:
    distances, _ = nearest(np.ones((2, 192), np.float32), np.empty((0, 192), np.float32))
    assert np.isinf(distances).all()
