from __future__ import annotations

import numpy as np
import pytest

from edgeface.api import FaceDetector
from edgeface.errors import ConfigError
from edgeface.sources.open import open_source


def test_a_synthetic_file_gives_every_frame_and_the_same_pixels_each_time() -> None:
    uri = "synthetic:?size=320x180&fps=10&faces=3&seed=4&frames=5"
    runs = []
    for _ in range(2):
        with open_source(uri) as source:
            runs.append(list(source))
        assert (source.live, source.frame_count, source.state) == (False, 5, "ended")
    assert [frame.pts_s for frame in runs[0]] == [0, 0.1, 0.2, 0.3, 0.4]
    for first, second in zip(*runs):
        np.testing.assert_array_equal(first.pixels, second.pixels)
    assert (runs[0][0].pixels != runs[0][4].pixels).any()


def test_another_seed_moves_otherwise() -> None:
    shown = [next(iter(open_source(f"synthetic:?frames=1&seed={seed}"))).pixels for seed in (0, 1)]
    assert (shown[0] != shown[1]).any()


@pytest.mark.parametrize("faces", [0, 1, 5])
def test_the_shipped_detector_finds_every_face(faces: int) -> None:
    with (
        open_source(f"synthetic:?size=960x540&faces={faces}&frames=8&fps=1") as source,
        FaceDetector(threads=1) as find,
    ):
        assert [len(find(frame.pixels)) for frame in source] == [faces] * 8


def test_a_synthetic_camera_keeps_its_pace_and_ends_after_its_frames() -> None:
    with open_source("synthetic:?size=64x64&fps=50&faces=1&frames=20&live=1") as source:
        frames = list(source)
    assert source.live and source.state == "ended" and source.problems == []
    assert len(frames) == source.counters.frames - source.counters.dropped
    assert frames[-1].pts_s == pytest.approx(19 / 50)
    assert all(frame.captured_s is not None for frame in frames)


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("size=0x3", "size: expected a size such as 640x360, found `0x3`"),
        ("colour=red", "unknown option `colour`, expected size, fps, faces, seed, frames, live"),
        ("faces=100", "faces: expected 0 to 64, found 100"),
        ("fps=0", "fps: expected 0.1 to 1000, found 0"),
        ("frames=0", "frames: expected 1 or more, found 0"),
        ("live=0", "live: expected 1, or 0 together with frames=N"),
    ],
)
def test_options_are_checked(query: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        open_source(f"synthetic:?{query}")
