"""Every way in which a set can be wrong is found and named; a set is never silently shorter."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeface.calibration import CalibrationFile, CalibrationSet, calibration_crops, check_set, read_set, write_set
from edgeface.errors import CalibrationError
from edgeface.evaluation.datasets import FaceSet, find_faces, in_folds
from edgeface.evaluation.labelled_crops import labelled_crops
from edgeface.types import Faces, Image
from tests.calibration.people import add_person, pattern
from tests.fixtures import SIZE, tiny_spec

Edit = Callable[[CalibrationSet], CalibrationSet]


def with_file(calibration: CalibrationSet, folder: Path, name: str, stratum: str) -> CalibrationSet:
    """The set with another file of the data, everything else in order."""
    sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    files = (*calibration.files, CalibrationFile(name, sha256, stratum))
    return replace(calibration, files=files, size=len(files))


def refusal(calibration: CalibrationSet, folder: Path) -> str:
    with pytest.raises(CalibrationError) as caught:
        check_set(calibration, find_faces([folder]))
    return str(caught.value)


def test_coverage_counts_strata(drawn: CalibrationSet, data: tuple[FaceSet, ...]) -> None:
    coverage = check_set(drawn, data)
    assert coverage.size == 12
    assert coverage.compared == 15
    assert coverage.available == {
        "male White 20-29": 22,
        "female Black 70+": 8,
        "female Asian 3-9": 2,
        "male Indian 3-9": 1,
    }
    strata = coverage.to_dict()["strata"]
    assert strata["male Indian 3-9"] == {"files": 1, "available": 1}
    assert sum(stratum["files"] for stratum in strata.values()) == 12


def test_a_file_of_a_held_out_fold(drawn: CalibrationSet, crowd: Path) -> None:
    for fold in (0, 1, 2):
        name = add_person(crowd, (25, 0, 0), fold, 9)
        assert refusal(with_file(drawn, crowd, name, "male White 20-29"), crowd) == (
            f"calibration set `twelve`: `{name}` is of fold {fold}, which is held out for judging; remove it"
        )


def test_a_held_out_picture_under_another_name(drawn: CalibrationSet, crowd: Path) -> None:
    shown = pattern(99, 64)
    original = add_person(crowd, (25, 0, 0), 1, 9, shown, suffix="jpg")
    copy = add_person(crowd, (25, 0, 0), 3, 20, shown, suffix="webp")
    sentence = refusal(with_file(drawn, crowd, copy, "male White 20-29"), crowd)
    assert sentence.startswith(f"calibration set `twelve`: `{copy}` shows the same as the held-out `{original}` (")


def test_the_same_picture_twice(drawn: CalibrationSet, crowd: Path) -> None:
    first = drawn.files[0]
    twice = replace(drawn, files=(*drawn.files, first), size=13)
    assert f"lists the same image more than once: `{first.name}`, `{first.name}`; remove the doubles" in refusal(
        twice, crowd
    )
    shown = pattern(98, 64)
    names = [add_person(crowd, (25, 0, 0), 3, 20 + n, shown, suffix) for n, suffix in enumerate(("jpg", "webp"))]
    for name in names:
        drawn = with_file(drawn, crowd, name, "male White 20-29")
    assert f"`{names[1]}` shows the same as `{names[0]}`; remove one" in refusal(drawn, crowd)


def test_missing_files(drawn: CalibrationSet, crowd: Path) -> None:
    for file in drawn.files[:4]:
        (crowd / file.name).unlink()
    first = ", ".join(f"`{file.name}`" for file in drawn.files[:3])
    assert refusal(drawn, crowd) == (
        f"calibration set `twelve`: 4 of its 12 files are not in the data: {first} and 1 more; "
        "is this the data set it was drawn from?"
    )


def test_a_changed_file(drawn: CalibrationSet, crowd: Path) -> None:
    path = crowd / drawn.files[5].name
    path.write_bytes(path.read_bytes() + b"\0")
    assert refusal(drawn, crowd) == (
        "calibration set `twelve`: 1 of its 12 files have other bytes than when it was drawn (sha256 differs): "
        f"`{path.name}`; restore them or make the set again"
    )


def test_other_data(drawn: CalibrationSet, tmp_path: Path) -> None:
    add_person(tmp_path / "others", (25, 0, 0), 5, 0)
    assert "12 of its 12 files are not in the data" in refusal(drawn, tmp_path / "others")


def test_an_undecodable_picture(drawn: CalibrationSet, crowd: Path) -> None:
    name = add_person(crowd, (25, 0, 0), 3, 20)
    (crowd / name).write_text("no image")
    broken = with_file(drawn, crowd, name, "male White 20-29")
    sentence = f"calibration set `twelve`: `{name}` cannot be decoded as an image: it holds text"
    assert refusal(broken, crowd) == sentence
    with pytest.raises(CalibrationError, match=f"^{re.escape(sentence)}$"):
        calibration_crops(broken, find_faces([crowd]), tiny_spec(), None)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda s: replace(s, files=(), size=0), "is empty: ranges of no image are noise, make it again"),
        (lambda s: replace(s, size=13), "states size 13 and lists 12 files: it was edited, make it again"),
        (lambda s: replace(s, stated_digest="f" * 64), "states digest ffffffffffff… and its files have"),
        (lambda s: replace(s, folds=(1, 3, 4)), "was drawn from fold 1, which is held out for judging"),
        (lambda s: replace(s, folds=(5,)), "the set states folds 5"),
        (lambda s: replace(s, files=(replace(s.files[0], stratum="x"), *s.files[1:])), "is listed as `x`, its labels"),
    ],
)
def test_a_set_that_is_not_what_it_says(drawn: CalibrationSet, crowd: Path, edit: Edit, sentence: str) -> None:
    assert sentence in refusal(edit(drawn), crowd)


def test_an_edited_file_is_told_by_its_digest(drawn: CalibrationSet, data: tuple[FaceSet, ...], tmp_path: Path) -> None:
    path = tmp_path / "set.toml"
    write_set(drawn, path)
    kept = [line for line in path.read_text().splitlines() if drawn.files[3].name not in line]
    path.write_text("\n".join(kept).replace("size = 12", "size = 11"))
    shorter = read_set(path)
    with pytest.raises(CalibrationError, match="states digest .* it was edited, make it again"):
        check_set(shorter, data)
    with pytest.raises(CalibrationError, match="states digest .* it was edited, make it again"):
        calibration_crops(shorter, data, tiny_spec(), None)


def test_without_held_out_pictures_nothing_is_compared(drawn: CalibrationSet, crowd: Path) -> None:
    assert check_set(drawn, find_faces([crowd], folds=range(3, 10))).compared == 0


def test_of_two_pictures_with_one_name_the_right_one_counts(drawn: CalibrationSet, crowd: Path) -> None:
    decoy = crowd / "a" / drawn.files[0].name
    decoy.parent.mkdir()
    decoy.write_bytes((crowd / drawn.files[1].name).read_bytes())
    assert check_set(drawn, find_faces([crowd])).size == 12


def no_face(image: Image) -> Faces:
    return Faces.empty()


def a_face(image: Image) -> Faces:
    """One in the middle of every image."""
    side = np.float32(min(image.shape[:2]))
    box = np.array([[0.2, 0.2, 0.8, 0.8]], np.float32) * side
    marks = np.array([[[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.62], [0.58, 0.62]]], np.float32) * side
    return Faces(box, np.array([0.9], np.float32), marks)


def test_crops_are_the_cutters_in_the_sets_order(drawn: CalibrationSet, data: tuple[FaceSet, ...]) -> None:
    seen: list[tuple[int, int]] = []
    crops = calibration_crops(drawn, data, tiny_spec(), a_face, lambda *at: seen.append(at))
    assert (crops.shape, crops.dtype) == ((12, SIZE, SIZE, 3), np.uint8)
    assert seen[-1] == (12, 12)
    everything = labelled_crops(data, tiny_spec(), a_face)
    rows = [everything.names.index(file.name) for file in drawn.files]
    np.testing.assert_array_equal(crops, everything.pixels[rows])


def test_crops_are_never_fewer(drawn: CalibrationSet, crowd: Path, data: tuple[FaceSet, ...]) -> None:
    with pytest.raises(CalibrationError, match="is empty"):
        calibration_crops(replace(drawn, files=()), data, tiny_spec(), None)
    with pytest.raises(CalibrationError, match="lists the same image more than once"):
        calibration_crops(replace(drawn, files=drawn.files[:1] * 12), data, tiny_spec(), None)
    few = [replace(part, faces=in_folds(part.faces, [4])) for part in data]
    with pytest.raises(CalibrationError, match=r"of its 12 files are not in the data"):
        calibration_crops(drawn, few, tiny_spec(), None)
    (crowd / drawn.files[0].name).write_bytes((crowd / drawn.files[1].name).read_bytes())
    with pytest.raises(CalibrationError, match="1 of its 12 files have other bytes"):
        calibration_crops(drawn, data, tiny_spec(), None)


def test_pictures_without_faces_are_no_calibration(drawn: CalibrationSet, data: tuple[FaceSet, ...]) -> None:
    with pytest.raises(CalibrationError, match=r"finds a face in only 0 of its \d+ images, expected 90% or more; draw"):
        calibration_crops(drawn, data, tiny_spec(), no_face)
