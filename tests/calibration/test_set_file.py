"""A set survives the way through its file, its digest names its content, and what is no set is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from edgeface.calibration import CalibrationFile, CalibrationSet, read_set, write_set
from edgeface.errors import CalibrationError, ConfigError, SinkError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
files = st.builds(CalibrationFile, texts, st.text("0123456789abcdef", min_size=64, max_size=64), texts)
sets = st.builds(
    CalibrationSet,
    texts,
    texts,
    texts,
    st.lists(st.integers(0, 9), max_size=10).map(tuple),
    st.integers(0, 2**40),
    st.integers(0, 2**20),
    texts,
    st.lists(files, max_size=4).map(tuple),
)


def small_set(**changes: object) -> CalibrationSet:
    listed = tuple(CalibrationFile(f"{n}.png", f"{n:064x}", "male White 20-29") for n in range(3))
    return replace(CalibrationSet("small", "made up", "none", (3, 4), 7, 3, "by hand", listed), **changes)  # type: ignore[arg-type]


@hypothesis.given(sets)
def test_every_set_survives_its_file(tmp_path_factory: pytest.TempPathFactory, calibration: CalibrationSet) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    write_set(calibration, path)
    again = read_set(path)
    assert again == calibration
    assert again.stated_digest == calibration.digest
    first = path.read_bytes()
    write_set(again, path)
    assert path.read_bytes() == first


def test_the_digest_is_that_of_the_sorted_lines() -> None:
    lines = "".join(f"{n}.png {n:064x}\n" for n in range(3))
    assert small_set().digest == hashlib.sha256(lines.encode()).hexdigest()


def test_the_digest_knows_content_and_not_words() -> None:
    digest = small_set().digest
    turned = small_set(files=small_set().files[::-1], name="other", how="otherwise", seed=8)
    assert turned.digest == digest
    assert small_set(files=small_set().files[:2]).digest != digest
    changed = (replace(small_set().files[0], sha256="f" * 64), *small_set().files[1:])
    assert small_set(files=changed).digest != digest
    renamed = (replace(small_set().files[0], name="x.png"), *small_set().files[1:])
    assert small_set(files=renamed).digest != digest


def edited(tmp_path: Path, old: str, new: str) -> Path:
    path = tmp_path / "set.toml"
    write_set(small_set(), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("seed = 7", "sead = 7", "no key `sead`, the nearest is `seed`"),
        ("seed = 7\n", "", ": the key `seed` is missing; make one with: edgeface calibration make$"),
        ("seed = 7", 'seed = "7"', ": `seed`: expected int, found '7'"),
        ("seed = 7", "seed = true", ": `seed`: expected int, found True"),
        ("[3, 4]", "[3, 14]", r": `folds`: expected a list of 0 to 9, found \[3, 14\]"),
        ("0" * 64, "0" * 63, "`files`, entry 1: `sha256`: expected 64 hex digits, found `0{63}`"),
        ('{ name = "0.png"', '{ nam = "0.png"', "`files`, entry 1: no key `nam`, the nearest is `name`"),
        ('{ name = "0.png", ', "{ ", "`files`, entry 1: the key `name` is missing"),
        ("files = [", 'files = [\n  "0.png",', "`files`, entry 1: expected a table, found '0.png'"),
        ('digest = "', 'digest = "x', ": `digest`: expected 64 hex digits, found `x"),
    ],
)
def test_what_is_no_set_is_refused(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(CalibrationError, match=f"^calibration set `{path}`.*{sentence}"):
        read_set(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match="^no calibration set at `.*none.toml`: no such file; make one with: edgeface calibration make$",
    ):
        read_set(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        read_set(edited(tmp_path, "seed = 7", "seed ="))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="^cannot write `"):
        write_set(small_set(), tmp_path / "file" / "set.toml")
