from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.errors import ConfigError, ImageError, SourceError
from edgeface.sources.base import SourceOptions
from edgeface.sources.file import ImageSource, _growing
from edgeface.sources.open import open_source, open_sources
from edgeface.sources.source_uri import is_local
from tests.fixtures import picture, write_picture
from tests.pipeline.clips import moving, quarters, write_clip


def test_a_picture_is_one_frame_without_a_time(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.png")
    with open_source(path) as source:
        (frame,) = source
    np.testing.assert_array_equal(frame.pixels, picture())
    assert (frame.pts_s, frame.source, frame.index, source.frame_count) == (None, str(path), 0, 1)


def test_a_directory_is_read_by_name_and_a_bad_picture_is_reported(tmp_path: Path) -> None:
    for name in ("c.png", "a.png"):
        write_picture(tmp_path / name)
    (tmp_path / "b.jpg").write_text("not an image")
    with open_source(tmp_path) as source:
        frames = list(source)
    assert isinstance(source, ImageSource) and source.frame_count == 3
    assert [(Path(frame.source).name, frame.index) for frame in frames] == [("a.png", 0), ("c.png", 2)]
    (problem,) = source.problems
    assert "b.jpg` cannot be decoded as an image: it holds text" in str(problem)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
def test_every_frame_of_a_video_comes_with_its_time(tmp_path: Path, name: str, codec: str) -> None:
    path = write_clip(tmp_path / name, moving(12), codec=codec)
    with open_source(path) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(12))
    np.testing.assert_allclose([frame.pts_s for frame in frames], np.arange(12) / 25, atol=1e-3)
    assert frames[0].pixels.shape == (64, 96, 3) and frames[0].source == str(path)
    assert source.problems == []


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.3, 0.31, 1.2]
    with open_source(write_clip(tmp_path / "a.mp4", moving(5), times)) as source:
        np.testing.assert_allclose([frame.pts_s for frame in source], times, atol=1e-3)
    assert source.problems == []


def test_sound_is_ignored(tmp_path: Path) -> None:
    with open_source(write_clip(tmp_path / "a.mkv", moving(4), sound=True)) as source:
        assert len(list(source)) == 4
    assert source.problems == []


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
)
def test_a_phones_rotation_is_applied(tmp_path: Path, matrix: tuple[int, ...], turn: int) -> None:
    path = write_clip(tmp_path / "phone.mp4", [quarters()] * 3)
    data = bytearray(path.read_bytes())
    a, b, c, d = matrix
    at = data.find(b"tkhd") + 44  # version 0: flags, times, id, duration, layer … come before the matrix
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with open_source(path) as source:
        frame = next(iter(source))
    wanted = np.rot90(quarters(), turn)
    assert frame.pixels.shape == wanted.shape
    assert np.abs(frame.pixels.astype(int) - wanted).mean() < 4


@pytest.mark.parametrize(("name", "share"), [("a.mp4", 0.7), ("a.mkv", 0.7)])
def test_a_video_that_breaks_off_keeps_what_was_decoded(tmp_path: Path, name: str, share: float) -> None:
    path = write_clip(tmp_path / name, moving(40))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with open_source(path) as source:
        frames = list(source)
    assert 5 < len(frames) < 40
    (problem,) = source.problems
    assert isinstance(problem, SourceError)
    of = " of 40" if name == "a.mp4" else ""
    assert f"{name}` broke off after {len(frames)}{of} frames (" in str(problem)
    assert str(problem).endswith("what was decoded is kept")


def test_damage_in_the_middle_ends_the_video_with_a_problem(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(40))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = np.random.default_rng(0).bytes(4000)
    path.write_bytes(data)
    with open_source(path) as source:
        frames = list(source)
    assert 0 < len(frames) < 40
    assert "broke off after" in str(source.problems[0]) and len(source.problems) == 1


@given(st.floats(0.02, 1.0))
@settings(max_examples=15, deadline=None)
def test_however_short_a_file_is_the_outcome_is_clean(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = write_clip(tmp_path_factory.mktemp("cut") / "a.mkv", moving(20))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    try:
        with open_source(path) as source:
            frames = list(source)
    except SourceError as error:
        assert "cannot open" in str(error) or "has no video stream" in str(error)
        return
    times = [frame.pts_s for frame in frames]
    assert all(earlier < later for earlier, later in zip(times, times[1:]))
    whole = bool(times) and times[-1] > 20 / 25 - 0.15
    assert whole or len(source.problems) == 1


@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=1, max_size=12))
def test_times_grow_strictly_whatever_the_container_says(times: list[float | None]) -> None:
    found: list[float] = []
    for time in times:
        found.append(_growing(time, found[-1] if found else None, 0.04))
    assert found[0] == (times[0] or 0.0)
    assert all(earlier < later for earlier, later in zip(found, found[1:]))


def test_what_is_no_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no source at `.*none\.mp4`: no such file or directory"):
        open_source(tmp_path / "none.mp4")
    (tmp_path / "letter.mp4").write_text("Dear reader")
    with pytest.raises(SourceError, match=r"cannot open `.*letter\.mp4` as a video: invalid data found .*; expected"):
        open_source(tmp_path / "letter.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no images in directory"):
        open_source(tmp_path / "empty")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(SourceError, match=r"song\.wav` has no video stream, only audio"):
        open_source(path)


def test_a_glob_is_its_files_by_name_and_a_bad_one_does_not_stop_the_others(tmp_path: Path) -> None:
    write_clip(tmp_path / "b.mp4", moving(3))
    write_clip(tmp_path / "a.mp4", moving(2))
    (tmp_path / "aa.mp4").write_text("Dear reader")
    write_picture(tmp_path / "c.png")
    sources = open_sources([f"{tmp_path}/*.mp4", tmp_path / "c.png"])
    assert [Path(source.name).name for source in sources] == ["a.mp4", "aa.mp4", "b.mp4", "c.png"]
    assert [len(list(source)) for source in sources] == [2, 0, 3, 1]
    assert [source.state for source in sources] == ["ended", "failed", "ended", "ended"]
    assert "cannot open" in str(sources[1].problems[0]) and sources[1].counters.errors == 1


def test_a_glob_that_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no source at `.*\*\.avi`: the glob matches no file"):
        open_sources([f"{tmp_path}/*.avi"])


def test_a_file_whose_name_looks_like_a_uri_or_a_glob_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("0.png", "a[1].png", "rtsp:x.png"):
        write_picture(tmp_path / name)
        (source,) = open_sources([name])
        assert len(list(source)) == 1
    (source,) = open_sources([f"file://{tmp_path}/0.png"])
    assert len(list(source)) == 1


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(SourceError, match=r"no source of the kind `gopher:`; expected an image, .*rtsp://.*synthetic:"):
        open_source("gopher://old")
    with pytest.raises(SourceError, match=r"no source at `camera`: no such file or directory; expected an image, "):
        open_source("camera")


def test_what_is_a_place_on_a_disk() -> None:
    assert [is_local(uri) for uri in ("a.mp4", "a/b", "C:\\a.mp4", "rtsp://a", "0", "csi:1")] == [True] * 3 + [
        False
    ] * 3


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"stall_s": 0}, "stall_s: expected more than 0 seconds, found 0"),
        ({"give_up_s": -1}, "give_up_s: expected more than 0 seconds, found -1"),
        ({"backoff_s": (2, 1)}, "backoff_s: expected two growing pauses"),
        ({"rtsp_transport": "pigeon"}, "rtsp_transport: expected tcp or udp, found `pigeon`"),
    ],
)
def test_settings_of_live_sources_are_checked(settings: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        SourceOptions(**settings)


def test_sources_that_differ_in_what_is_not_shown_have_names_of_their_own() -> None:
    uris = ["rtsp://u:p@cam/a?channel=1", "rtsp://u:p@cam/a?channel=2", "rtsp://cam/b", "rtsp://cam/c"]
    sources = open_sources([*uris, "synthetic:?frames=1&seed=1#name=door", "synthetic:?frames=1&seed=2"])
    assert [source.name for source in sources] == [
        "rtsp://cam/…?channel=1",
        "rtsp://cam/…?channel=2",
        "rtsp://cam/…#1",
        "rtsp://cam/…#2",
        "door",
        "synthetic:?frames=1&seed=2",
    ]
    assert [frame.source for source in sources[4:] for frame in source] == ["door", "synthetic:?frames=1&seed=2"]
