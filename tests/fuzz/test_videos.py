"""Damaged videos of every container through the source: frames, a problem, or one error, in little memory."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import pytest

from edgeface.errors import EdgefaceError
from edgeface.sources.file import VideoSource
from tests.fuzz.damage import damaged, little_memory, no_hang
from tests.pipeline.clips import moving, write_clip

CLIPS = (("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.ts", "mpeg2video"), ("a.webm", "libvpx"))
EACH = 120
_MOST_FRAMES = 100


@pytest.mark.parametrize(("name", "codec"), CLIPS)
def test_a_damaged_video_gives_what_it_can_and_one_sentence(tmp_path: Path, name: str, codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    path = write_clip(tmp_path / name, moving(8), codec=codec)
    data = path.read_bytes()
    outcomes = {"frames": 0, "problems": 0, "refused": 0}
    with little_memory():
        for seed in range(EACH):
            path.write_bytes(damaged(data, seed))
            with no_hang():
                try:
                    with VideoSource(path) as source:
                        frames = list(islice(source, _MOST_FRAMES))
                except EdgefaceError as error:
                    outcomes["refused"] += 1
                    assert "\n" not in str(error)
                    continue
            times = [frame.pts_s for frame in frames]
            assert all(earlier < later for earlier, later in zip(times, times[1:]))
            assert all("\n" not in str(problem) for problem in source.problems)
            outcomes["frames"] += bool(frames)
            outcomes["problems"] += bool(source.problems)
    assert outcomes["frames"] and outcomes["problems"] + outcomes["refused"], outcomes
