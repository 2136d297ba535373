"""``benchmarks.studies.predict_batch``: its images, its arithmetic, and a short run that checks answers."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("cv2")

from benchmarks.studies import predict_batch
from benchmarks.studies.photographs import even_shares, link, unpack
from benchmarks.studies.predict_batch import Chunks, check_answers, efficiency_of, memory_of
from benchmarks.studies.predict_process import PredictProcess
from edgeface.errors import BackendError, ConfigError


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.data())
def test_shares_are_even_and_complete(available: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, sum(available)))
    shares = even_shares(available, count)
    assert sum(shares) == count
    assert all(0 <= share <= size for share, size in zip(shares, available))
    unfilled = [share for share, size in zip(shares, available) if share < size]
    assert not unfilled or max(shares) - min(unfilled) <= 1, "no one gives more than one that has some left"


def test_pictures_of_zips_are_mixed(tmp_path: Path) -> None:
    for name, count in (("few", 3), ("many", 50)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for number in range(count):
                archive.writestr(f"{name}/{number}.jpg", f"{name} {number}")
    files = unpack([tmp_path], tmp_path / "out", 20)
    assert [file.name[:5] for file in files] == [f"{number:05d}" for number in range(20)]
    origins = [file.read_text().split()[0] for file in files]
    assert origins.count("few") == 3 and origins != sorted(origins)
    one_each = unpack([tmp_path / "few.zip", tmp_path], tmp_path / "two", 6)
    assert sorted(file.read_text().split()[0] for file in one_each) == ["few"] * 4 + ["many"] * 2
    shown = link(files[:7], tmp_path / "shown")
    assert sorted(file.name for file in shown.iterdir()) == [file.name for file in files[:7]]


def test_too_few_pictures_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    with pytest.raises(ConfigError, match="5 images are needed, the data hold 1: ask for fewer with --pictures"):
        unpack([tmp_path], tmp_path / "out", 5)
    with pytest.raises(ConfigError, match="no images at `.*gone`: name zips or folders"):
        unpack([tmp_path / "gone"], tmp_path / "out", 1)


def test_the_first_chunk_does_not_count_for_the_interval() -> None:
    chunks = Chunks(predict_s=[9.0, *[2.0] * 10], bare_s=[1.0] * 11)
    assert efficiency_of(chunks) == {"median": 0.5, "low": 0.5, "high": 0.5}


def test_memory_is_flat_or_growing() -> None:
    pictures = list(range(250, 5001, 250))
    flat = memory_of(Chunks(pictures=pictures, memory_mb=[80.0, *[100.0] * 19]))
    assert flat["flat"] is True and flat["settled_after"] == 500 and flat["settled_mb"] == 100
    assert flat["slope_mb_per_1000"] == [0, 0, 0]
    growing = memory_of(Chunks(pictures=pictures, memory_mb=[80 + 0.01 * count for count in pictures]))
    assert growing["flat"] is False and growing["slope_mb_per_1000"][0] == pytest.approx(10)


def test_other_answers_are_an_error() -> None:
    line = {"path": "a.jpg", "faces": [{"age": 30.0}]}
    check_answers([line], [[30.01]])
    with pytest.raises(BackendError, match=r"`a.jpg`: edgeface predict says \[30.0\], its parts alone \[40.0\]"):
        check_answers([line], [[40.0]])


def test_a_command_that_fails_is_an_error(tmp_path: Path) -> None:
    with (
        PredictProcess(tmp_path, 1) as process,
        pytest.raises(BackendError, match="edgeface predict ended early: error: no images in directory"),
    ):
        process.answers(1)


def test_a_short_run(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "out.json"
    assert predict_batch.main(["--quick", "--data", str(album), "--save", str(saved)]) == 0
    results = json.loads(saved.read_text(encoding="utf-8"))
    assert results["pictures"] == 24 and [run["threads"] for run in results["runs"]] == [1, 0]
    for run in results["runs"]:
        assert run["faces"] >= 20
        assert run["efficiency"] == pytest.approx(run["bare_s"] / run["predict_s"], abs=1e-3)
        assert len(run["chunks"]["predict_s"]) == 3 and np.min(run["chunks"]["memory_mb"]) > 10
    table = predict_batch.tables(results)["predict_batch"]
    assert table in capsys.readouterr().out and len(table.splitlines()) == 4
