from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.sinks import video as sink_video
from edgeface.sinks.video import VideoClock, VideoSink
from edgeface.sources.open import open_source
from edgeface.types import Frame, Image
from tests.pipeline.clips import moving, quarters, result


def write(path: Path, frames: list[Image], times: list[float | None], faces: int = 0) -> list[Frame]:
    """Frames read back from what the sink wrote."""
    with VideoSink(path) as sink:
        for index, (pixels, pts_s) in enumerate(zip(frames, times)):
            sink.append(result(pixels, index, pts_s, faces))
    with open_source(path) as source:
        found = list(source)
    assert source.problems == []
    return found


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_frames_keep_their_order_and_uneven_times(tmp_path: Path, name: str) -> None:
    times = [0.0, 0.04, 0.3, 0.31, 1.2]
    found = write(tmp_path / name, moving(5), times)
    np.testing.assert_allclose([frame.pts_s for frame in found], times, atol=1.1e-3)
    assert np.abs(found[4].pixels.astype(int) - moving(5)[4]).mean() < 12


def test_h264_with_its_index_in_front(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", moving(3), [0, 0.04, 0.08])
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec.name == "h264"
        assert container.streams.video[0].pix_fmt == "yuv420p"
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_colours_come_back_and_their_matrix_is_stated(tmp_path: Path) -> None:
    pixels = np.full((64, 96, 3), (200, 40, 60), np.uint8)
    (found,) = write(tmp_path / "a.mp4", [pixels], [0.0])
    assert np.abs(found.pixels.astype(int) - pixels).mean() < 4
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert next(container.decode(video=0)).colorspace == 5  # BT.601


def test_without_an_h264_encoder_it_is_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_video, "_ENCODERS", (("no-such-encoder", {}), *sink_video._ENCODERS[1:]))
    times = [0.0, 0.04, 0.5]
    found = write(tmp_path / "a.mp4", moving(3), times)
    np.testing.assert_allclose([frame.pts_s for frame in found], times, atol=1e-3)


def test_faces_are_drawn(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.mp4", [np.full((64, 96, 3), 90, np.uint8)], [0.0])
    drawn = write(tmp_path / "b.mp4", [np.full((64, 96, 3), 90, np.uint8)], [0.0], faces=1)
    assert np.ptp(plain[0].pixels.astype(int)) < 12 < np.ptp(drawn[0].pixels.astype(int))


def test_odd_sizes_are_padded_to_even_ones(tmp_path: Path) -> None:
    (found,) = write(tmp_path / "a.mp4", [quarters(97, 63)], [0.0])
    assert found.pixels.shape == (64, 98, 3)
    assert np.abs(found.pixels[:63, :97].astype(int) - quarters(97, 63)).mean() < 6


def test_pictures_without_times_follow_each_other_and_are_fitted(tmp_path: Path) -> None:
    white = np.full((40, 40, 3), 255, np.uint8)
    found = write(tmp_path / "a.mp4", [quarters(96, 64), white], [None, None])
    assert [frame.pts_s for frame in found] == [0.0, 0.5]
    assert found[1].pixels.shape == (64, 96, 3)
    assert found[1].pixels[:, :60].mean() > 245 and found[1].pixels[:, 70:].mean() < 10


@pytest.mark.parametrize("start", [0.0, 5.0, 20_000.0])
def test_a_video_starts_at_0_whatever_the_sources_clock_says(tmp_path: Path, start: float) -> None:
    found = write(tmp_path / "a.mkv", moving(3), [start, start + 0.04, start + 0.08])
    np.testing.assert_allclose([frame.pts_s for frame in found], [0.0, 0.04, 0.08], atol=1.1e-3)


def ticks(*frames: tuple[str, float | None]) -> list[float]:
    """Seconds of the output for (source, seconds) of each frame."""
    clock = VideoClock()
    return [clock(source, pts_s) / sink_video._TICKS_PER_S for source, pts_s in frames]


def test_sources_follow_each_other() -> None:
    first = [("a.mp4", number / 25) for number in range(46)]
    second = [("b.mp4", 7 + number / 25) for number in range(76)]
    found = ticks(*first, *second)
    np.testing.assert_allclose(found, [number / 25 for number in range(122)], atol=1e-6)
    assert found[-1] + 1 / 25 == pytest.approx(1.84 + 3.04)


def test_a_counter_that_wraps_goes_on() -> None:
    """33 bits of 90 kHz: after 95,443.7 s a transport stream counts from 0 again."""
    wrap = 2**33 / 90_000
    stated = [wrap - 0.08 + number / 25 for number in range(5)]
    found = ticks(*[("cam", at - wrap if at >= wrap else at) for at in stated])
    np.testing.assert_allclose(found, [number / 25 for number in range(5)], atol=2e-3)


@given(st.lists(st.floats(0, 50), min_size=1, max_size=6))
@settings(max_examples=15, deadline=None)
def test_any_times_make_a_video_of_all_frames(tmp_path_factory: pytest.TempPathFactory, times: list[float]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.mp4"
    assert len(write(path, moving(len(times)), list(times))) == len(times)


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_a_playable_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), VideoSink(tmp_path / "a.mp4") as sink:
        for index, pixels in enumerate(moving(7)):
            sink.append(result(pixels, index, index / 25))
        raise KeyboardInterrupt
    with open_source(tmp_path / "a.mp4") as source:
        assert len(list(source)) == 7
