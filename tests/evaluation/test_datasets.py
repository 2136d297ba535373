"""Labels from names and label files, folds, folders and zips, and every way these can be wrong."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.errors import DataError, ImageError
from edgeface.evaluation.datasets import FaceSet, LabelledFace, find_faces, fold_of, in_folds, parse_folds
from edgeface.imaging.image_io import decode_image
from edgeface.spec.model import RACES
from tests.fixtures import open_faces

FAIRFACE_HEADER = "file,age,gender,race\n"


def make_folder(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def make_zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def test_utkface_names_are_labels(tmp_path: Path) -> None:
    found = open_faces(make_folder(tmp_path, "a/26_1_3_20170116174525125.jpg.chip.jpg"))
    (face,) = found.faces
    assert (face.name, face.age, face.gender, face.race) == ("a/26_1_3_20170116174525125.jpg.chip.jpg", 26.0, 1, 3)
    assert face.interval == -1
    assert face.fold == fold_of("20170116174525125")
    assert list(found.read([face.name])) == [face.name.encode()]


@pytest.mark.parametrize(
    ("key", "fold"), [("20170116174525125", 7), ("train/1", 5), ("20170116220224657 ", 1), ("20170116232725357jpg", 1)]
)
def test_folds_are_the_sha1_rule(key: str, fold: int) -> None:
    assert fold_of(key) == fold


def test_the_key_is_all_before_the_first_dot(tmp_path: Path) -> None:
    """Two names of the original data have a slip after the digits; the folds were made with it."""
    names = ("24_0_1_20170116220224657 .jpg.chip.jpg", "55_0_0_20170116232725357jpg.chip.jpg")
    assert [face.fold for face in open_faces(make_folder(tmp_path, *names)).faces] == [1, 1]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("39_1_20170116174525125.jpg", "3 fields, expected [age]_[gender]_[race]_[date&time]"),
        ("117_0_0_2017.jpg", "age 117 is not 0 to 116"),
        ("x_0_0_2017.jpg", "age x is not 0 to 116"),
        ("5_2_0_2017.jpg", "gender 2 is not 0 or 1"),
        ("5_0_5_2017.jpg", "race 5 is not 0 to 4"),
        ("5_0_4_date.jpg", "no date and time"),
    ],
)
def test_malformed_names_are_skipped_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    found = open_faces(make_folder(tmp_path, name, "1_0_0_2017.jpg"))
    assert len(found.faces) == 1
    assert found.skipped == (f"{name} ({reason})",)


def test_hidden_files_and_other_files_are_no_pictures(tmp_path: Path) -> None:
    found = open_faces(make_folder(tmp_path, "1_0_0_2017.jpg", "__MACOSX/._1_0_0_2017.jpg", "readme.txt"))
    assert [face.name for face in found.faces] == ["1_0_0_2017.jpg"]
    assert found.skipped == ()


def test_zips_are_read_in_place(tmp_path: Path) -> None:
    found = open_faces(make_zip(tmp_path / "faces.zip", "U/2_0_0_2017.jpg", "U/1_0_0_2018.webp"))
    names = [face.name for face in found.faces]
    assert names == ["U/1_0_0_2018.webp", "U/2_0_0_2017.jpg"]
    assert list(found.read(reversed(names))) == [name.encode() for name in reversed(names)]


def test_a_folder_of_zips_and_pictures_is_all_of_them(tmp_path: Path) -> None:
    make_folder(tmp_path, "1_0_0_2017.jpg")
    make_zip(tmp_path / "b.zip", "2_0_0_2018.jpg")
    make_zip(tmp_path / "a.zip", "3_0_0_2019.jpg")
    assert [[face.age for face in item.faces] for item in find_faces([tmp_path])] == [[1.0], [3.0], [2.0]]


def test_folds_choose_and_skipped_names_stay(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", "1_0_0_20170116174525125.jpg")  # fold 7
    make_zip(tmp_path / "b.zip", "1_0_0_20170116232725357jpg.jpg")  # fold 1
    make_zip(tmp_path / "c.zip", "1_0_20170116232725357.jpg")
    found = find_faces([tmp_path], folds={1})
    assert [len(item.faces) for item in found] == [1, 0]
    assert found[1].skipped[0].startswith("1_0_20170116232725357.jpg")


def test_no_picture_of_a_fold_says_which_there_are(tmp_path: Path) -> None:
    make_folder(tmp_path, "1_0_0_20170116174525125.jpg")
    with pytest.raises(DataError, match=r"no image of fold 0, 1 in `.*`: its 1 labelled images are of fold 7$"):
        find_faces([tmp_path], folds={0, 1})


def test_fairface_labels_are_classes_of_ours(tmp_path: Path) -> None:
    data = make_zip(tmp_path / "faces.zip", "FairFace/train/1.webp", "FairFace/train/2.webp", "FairFace/train/3.webp")
    labels = tmp_path / "labels.csv"
    labels.write_text(
        FAIRFACE_HEADER + "train/1.jpg,50-59,Male,East Asian\ntrain/2.jpg,more than 70,Female,Middle Eastern\n"
    )
    found = open_faces(data, labels)
    first, second = found.faces
    assert (first.interval, first.gender, RACES[first.race], first.fold) == (6, 0, "Asian", fold_of("train/1"))
    assert math.isnan(first.age)
    assert (second.interval, second.gender, RACES[second.race]) == (8, 1, "Others")
    assert found.skipped == (f"FairFace/train/3.webp (no row in {labels})",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,age,gender\na.jpg,0-2,Male\n",
            "lack the column race: expected file,age,gender,race, found file,age,gender",
        ),
        ("", "lack the column file, age, gender, race: expected file,age,gender,race, found nothing"),
        (
            FAIRFACE_HEADER + "a.jpg,0-2,Male,Martian\n",
            "line 2: race `Martian` is not known, expected one of White, Black",
        ),
        (FAIRFACE_HEADER + "a.jpg,0-2,Male,White\nb.jpg,41,Male,White\n", "line 3: age `41` is not known"),
        (FAIRFACE_HEADER + "a.jpg,0-2\n", "line 2: gender `` is not known, expected one of Male, Female"),
    ],
)
def test_label_files_are_checked_by_line(tmp_path: Path, text: str, message: str) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    with pytest.raises(DataError) as caught:
        open_faces(make_folder(tmp_path, "a.jpg"), labels)
    assert message in str(caught.value)


def test_unreadable_label_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read labels `.*none.csv`: No such file"):
        open_faces(tmp_path, tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(DataError, match="not a CSV text file in UTF-8"):
        open_faces(tmp_path, tmp_path / "binary.csv")


def test_nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder or a zip of labelled faces"):
        open_faces(tmp_path / "none")
    with pytest.raises(DataError, match="found no images; data in FairFace's form need --labels"):
        open_faces(tmp_path)
    make_folder(tmp_path, "cat.jpg")
    with pytest.raises(DataError, match=r"no UTKFace name .*: found 1 such as `cat.jpg \(1 fields"):
        find_faces([tmp_path])
    (tmp_path / "labels.csv").write_text(FAIRFACE_HEADER + "dog.jpg,0-2,Male,White\n")
    with pytest.raises(DataError, match=r"no image of .* has a row in .*: found 1 such as `cat.jpg"):
        find_faces([tmp_path], tmp_path / "labels.csv")


def test_damaged_zips(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"cannot read `.*text.zip`: expected a folder or a zip"):
        open_faces(tmp_path / "text.zip")
    whole = make_zip(tmp_path / "whole.zip", "1_0_0_2017.jpg")
    found = open_faces(whole)
    whole.write_bytes(
        whole.read_bytes().replace(b"1_0_0_2017.jpgPK", b"X_0_0_2017.jpgPK").replace(b"2017.jpg1", b"2017.jpgX")
    )
    (raw,) = found.read(["1_0_0_2017.jpg"])
    with pytest.raises(ImageError, match="cannot read image `1_0_0_2017.jpg`: "):
        decode_image(raw)


def test_a_picture_that_vanished(tmp_path: Path) -> None:
    (raw,) = FaceSet(tmp_path, (), ()).read(["gone.jpg"])
    with pytest.raises(ImageError, match="cannot read image `gone.jpg`: No such file or directory"):
        decode_image(raw)


@pytest.mark.parametrize(
    ("text", "folds"),
    [
        ("1", {1}),
        ("0,1", {0, 1}),
        ("2-9", set(range(2, 10))),
        (" 0, 3 - 5 ", {0, 3, 4, 5}),
        ("all", None),
        ("ALL", None),
    ],
)
def test_folds_as_people_write_them(text: str, folds: set[int] | None) -> None:
    assert parse_folds(text) == folds


@pytest.mark.parametrize("text", ["", "10", "5-2", "a", "1,,2", "-1", "1-"])
def test_folds_nobody_means(text: str) -> None:
    with pytest.raises(DataError, match="expected 0 to 9 as in 1 or 0,1 or 2-9, or all; found"):
        parse_folds(text)


@given(st.lists(st.text(max_size=20), max_size=30), st.sets(st.integers(0, 9)))
def test_folds_split_without_loss(keys: list[str], folds: set[int]) -> None:
    faces = [LabelledFace(key, fold_of(key)) for key in keys]
    inside, outside = in_folds(faces, folds), in_folds(faces, set(range(10)) - folds)
    assert sorted(f.name for f in inside + outside) == sorted(keys)
    assert all(face.fold in folds for face in inside)


def test_the_shared_data_split_as_published(shared: Path) -> None:
    found = find_faces([shared / "data" / "utkface"])
    folds = {item.path.name: {face.fold for face in item.faces} for item in found}
    assert folds == {f"utkface-fold{fold}.zip": {fold} for fold in range(1, 10)}
    assert sum(len(item.faces) for item in found) == 21320
    assert sum(len(item.skipped) for item in found) == 3
