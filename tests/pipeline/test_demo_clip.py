from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import SinkError
from edgeface.imaging.geometry import transform
from edgeface.imaging.portraits import _view, demo_frames, portrait_paths, portraits
from edgeface.inference.detector import FaceDetector
from edgeface.pipeline.demo_clip import make_demo_clip
from edgeface.sources.open import open_source


def test_the_portraits_come_with_credits_and_are_small() -> None:
    paths = portrait_paths()
    assert [path.stem for path in paths] == ["eileen-collins", "grace-hopper"] == list(portraits())
    credits = (paths[0].parent / "CREDITS.md").read_text()
    for path in paths:
        assert path.name in credits and path.stat().st_size <= 80_000


def test_the_clip_has_the_length_rate_and_size_asked_for(tmp_path: Path) -> None:
    make_demo_clip(tmp_path / "demo.mp4", seconds=1.2, size=(320, 180), fps=10)
    with open_source(tmp_path / "demo.mp4") as source:
        frames = list(source)
    assert len(frames) == 12 and frames[0].pixels.shape == (180, 320, 3)
    np.testing.assert_allclose([frame.pts_s for frame in frames], np.arange(12) / 10, atol=1e-3)


def test_the_camera_moves_smoothly() -> None:
    wall_middle = [transform(_view(share, (640, 360)), np.array([512.0, 288.0])) for share in np.linspace(0, 1, 150)]
    steps = np.linalg.norm(np.diff(wall_middle, axis=0), axis=1)
    assert steps.max() < 0.04 * 640 and steps.sum() > 640


def test_a_single_frame_is_a_clip_too() -> None:
    assert len(list(demo_frames(seconds=0))) == 1


def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="cannot write"):
        make_demo_clip(tmp_path / "file" / "demo.mp4")


def test_a_face_is_in_view_the_whole_time(shared: Path) -> None:
    detector = FaceDetector(shared / "models" / "face_detection_yunet_2026may.onnx", threads=1)
    found = [len(detector(frame.pixels)) for frame in demo_frames(seconds=2)]
    assert min(found) >= 1 and max(found) == 2
