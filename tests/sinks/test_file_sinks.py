from __future__ import annotations

import csv
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import SinkError
from edgeface.imaging.image_io import read_image
from edgeface.sinks.file_sinks import CSV_COLUMNS, CsvSink, JsonlSink, PictureSink, StdoutSink
from edgeface.sinks.open import open_sink
from edgeface.sinks.video import VideoSink
from edgeface.types import Image
from tests.pipeline.clips import a_face, result

FILES = ("a.jsonl", "a.csv", "a.mp4", "a.mkv")


def pixels(width: int = 96, height: int = 64) -> Image:
    return np.full((height, width, 3), 90, np.uint8)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 8 kB, as on a disk that is full (Python ignores the signal, so writing fails).

    No fixture: pytest reports a test before it ends its fixtures, and its own log may be longer than that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("uri", "kind"),
    [("a.jsonl", JsonlSink), ("a.CSV", CsvSink), ("a.mp4", VideoSink), ("a.mov", VideoSink), ("new/", PictureSink)],
)
def test_the_name_chooses_the_sink(tmp_path: Path, uri: str, kind: type) -> None:
    with open_sink(f"{tmp_path}/{uri}") as sink:
        assert type(sink) is kind


def test_stdout_and_existing_directories_are_sinks_too(tmp_path: Path) -> None:
    assert isinstance(open_sink("-"), StdoutSink) and isinstance(open_sink(tmp_path), PictureSink)


@pytest.mark.parametrize("uri", ["a.txt", "a.avi", "results"])
def test_an_unknown_name_says_what_there_is(tmp_path: Path, uri: str) -> None:
    with pytest.raises(SinkError, match=rf"no sink for `.*{uri}`: expected a name ending in \.jsonl, \.csv, \.mkv"):
        open_sink(tmp_path / uri)


def test_jsonl_has_a_line_a_frame(tmp_path: Path) -> None:
    with open_sink(tmp_path / "deep" / "a.jsonl") as sink:
        sink.append(result(pixels(), 0, 0.0, faces=2))
        sink.append(result(pixels(), 1, 0.04, faces=0))
        assert not (tmp_path / "deep" / "a.jsonl").exists()
    lines = [json.loads(line) for line in (tmp_path / "deep" / "a.jsonl").read_text().splitlines()]
    assert [(line["frame"], line["pts_s"], len(line["faces"])) for line in lines] == [(0, 0.0, 2), (1, 0.04, 0)]


def test_stdout_has_a_line_a_frame(capsys: pytest.CaptureFixture[str]) -> None:
    with open_sink("-") as sink:
        sink.append(result(pixels(), 3, 0.12, source="Zürich.mp4"))
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["frame"] == 3 and "Zürich.mp4" in line


def test_csv_has_a_row_a_face_under_its_columns(tmp_path: Path) -> None:
    blind = a_face((1, 2, 3, 4), landmarks=None)
    with CsvSink(tmp_path / "a.csv") as sink:
        sink.append(result(pixels(), 0, 0.0, faces=2, source="a, b.mp4"))
        sink.append(type(result(pixels()))(result(pixels(), 1, 0.04).frame, (blind,)))
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS and len(rows) == 3
    assert [(row["source"], row["frame"], row["face"], row["track"]) for row in rows] == [
        ("a, b.mp4", "0", "0", "1"),
        ("a, b.mp4", "0", "1", "2"),
        ("clip.mp4", "1", "0", ""),
    ]
    assert (rows[0]["x1"], rows[0]["right_eye_x"], rows[0]["race"]) == ("8", "9", "White")
    assert rows[2]["right_eye_x"] == rows[2]["left_mouth_y"] == ""


def test_pictures_take_the_names_of_their_sources(tmp_path: Path) -> None:
    with open_sink(f"{tmp_path}/out/") as sink:
        for source in ("one/a.png", "two/a.png", "b.tiff", "c.what"):
            sink.append(result(pixels(), source=source))
        sink.append(result(pixels(), 12, 0.48))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a-2.png", "a.png", "b.tiff", "c.jpg", "clip_000012.jpg"]
    assert (read_image(tmp_path / "out" / "a.png") != 90).any()  # the box and the label


@pytest.mark.parametrize("name", FILES)
def test_closing_twice_is_harmless_and_appending_afterwards_is_not(tmp_path: Path, name: str) -> None:
    sink = open_sink(tmp_path / name)
    sink.append(result(pixels()))
    sink.close()
    sink.close()
    with pytest.raises(SinkError, match=f"{name}` is closed, open it again"):
        sink.append(result(pixels()))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FILES)
def test_an_error_elsewhere_keeps_what_was_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuntimeError), open_sink(tmp_path / name) as sink:
        sink.append(result(pixels()))
        raise RuntimeError
    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize("name", FILES)
def test_an_error_before_the_first_result_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuntimeError), open_sink(tmp_path / name):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*FILES, "pictures/"])
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    with (
        full_disk(),
        pytest.raises(SinkError, match=r"cannot write `.*`: File too large") as caught,
        open_sink(f"{tmp_path}/{name}") as sink,
    ):
        for index in range(60):
            sink.append(result(noise, index, index / 25, source="clip" * 20))
    assert "\n" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", [*FILES, "pictures/"])
def test_a_place_that_cannot_hold_files_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"cannot write `.*`: (Not a directory|File exists)"):
        open_sink(f"{tmp_path}/file/{name}")


def test_a_directory_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *args: False)  # root may write anywhere, so permissions cannot be tried
    with pytest.raises(SinkError, match="cannot write `.*`: the directory is not writable"):
        open_sink(tmp_path)


def test_an_existing_file_survives_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("old\n")
    with full_disk(), pytest.raises(SinkError), open_sink(tmp_path / "a.jsonl") as sink:
        sink.append(result(pixels(), source="x" * 20_000))
    assert (tmp_path / "a.jsonl").read_text() == "old\n"


def test_frames_of_sources_that_share_a_name_stay_apart_and_are_not_remembered(tmp_path: Path) -> None:
    """Two cameras in step, one ahead of the other, and the first one once more from the beginning."""
    sink = PictureSink(tmp_path)
    names = [
        sink._file_name(result(np.zeros((8, 8, 3), np.uint8), index, 0.1, source=f"{camera}/cam"))
        for camera, index in [*(("ab"[n % 2], n // 2) for n in range(200)), ("a", 500), ("b", 100), ("a", 0)]
    ]
    assert len(set(names)) == len(names)
    assert names[:4] == ["cam_000000.jpg", "cam_000000-2.jpg", "cam_000001.jpg", "cam_000001-2.jpg"]
    assert sum(map(len, sink._last_frames.values())) == 3 and not sink._taken
