"""Manifests: labels in every form, images in folders and zips, and a sentence for every line that is wrong."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import pytest

from edgeface.errors import DataError
from edgeface.evaluation.datasets import fold_of
from trainer.data.manifest import IntervalFace, open_manifest


def manifest(folder: Path, *lines: str) -> Path:
    """A manifest beside two images and a zip with one."""
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(name.encode())
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("in/c.jpg", b"c")
    path = folder / "faces.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_labels_by_name_or_number_known_or_not(tmp_path: Path) -> None:
    path = manifest(
        tmp_path, "path,age,gender,race,fold", "a.jpg,31.5,Female,asian,4", "b.jpg,,,,", "more.zip/in/c.jpg,20-24,0,4,"
    )
    folder, archive = open_manifest(path)
    (first, second), (third,) = folder.faces, archive.faces
    assert (first.age, first.gender, first.race, first.fold) == (31.5, 1, 2, 4)
    assert math.isnan(second.age) and (second.gender, second.race, second.interval) == (-1, -1, -1)
    assert second.fold == fold_of("b") and third.fold == fold_of("more.zip/in/c")
    assert isinstance(third, IntervalFace) and (third.low, third.high, third.interval) == (20, 24, 3)
    assert list(archive.read([third.name])) == [b"c"] and list(folder.read(["a.jpg"])) == [b"a.jpg"]


@pytest.mark.parametrize(
    ("age", "ends", "interval"),
    [("20-29", (20, 29), 3), ("70+", (70, 120), 8), ("15-24", (15, 24), -1), ("7-7", (7, 7), 1)],
)
def test_intervals_are_kept_as_written(tmp_path: Path, age: str, ends: tuple[int, int], interval: int) -> None:
    ((face,),) = (item.faces for item in open_manifest(manifest(tmp_path, "path,age", f"a.jpg,{age}")))
    assert isinstance(face, IntervalFace) and (face.low, face.high) == ends and face.interval == interval


def test_missing_pictures_are_skipped_by_name(tmp_path: Path) -> None:
    (folder,) = open_manifest(manifest(tmp_path, "path,gender", "a.jpg,1", "gone.jpg,0"))
    assert [face.name for face in folder.faces] == ["a.jpg"]
    assert folder.skipped == ("gone.jpg (no such image)",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("file,age", "a.jpg,3"), "expected the columns path,age,gender,race,fold, found file,age"),
        (("path,age", "a.jpg,old"), "line 2: age `old` is not 0 to 120, an interval as in 20-29, or open as in 70+"),
        (("path,age", "a.jpg,30-20"), "line 2: age `30-20` is not"),
        (("path,gender", "a.jpg,1", "b.jpg,2"), "line 3: gender `2` is not known, expected one of male, female"),
        (("path,race", "a.jpg,Green"), "line 2: race `Green` is not known, expected one of White, Black"),
        (("path,age,fold", "a.jpg,3,11"), "line 2: fold `11` is not known"),
        (("path,age", "a.jpg,3", "a.jpg,4"), "line 3: `a.jpg` is listed twice"),
        (("path,age", ",3"), "line 2: the path is empty"),
        (("path,age", "gone.jpg,3"), "no image found, 1 missing such as"),
        (("path,age", "none.zip/a.jpg,3"), "expected a zip of images"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError) as raised:
        open_manifest(manifest(tmp_path, *lines))
    assert message in str(raised.value)


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read manifest `.*none.csv`: No such file"):
        open_manifest(tmp_path / "none.csv")
