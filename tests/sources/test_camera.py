"""Cameras at this machine: what is said where there is none, and a CSI camera whose GStreamer is a small program."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import ConfigError, MissingDependencyError, SourceError
from edgeface.sources.base import SourceOptions
from edgeface.sources.camera import csi_command
from edgeface.sources.open import open_source

OPTIONS = SourceOptions(stall_s=0.5, backoff_s=(0.05, 0.1), give_up_s=1.5)
GSTREAMER = """#!{python}
import sys, time
assert "nvarguscamerasrc" in sys.argv and "sensor-id=1" in sys.argv
for index in range({frames}):
    sys.stdout.buffer.write(bytes([16 + 60 * index % 200]) * (64 * 32) + bytes([128]) * (64 * 16))
    sys.stdout.buffer.flush()
time.sleep({silence})
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, frames: int, silence: float) -> None:
    """Put a ``gst-launch-1.0`` first on the path that writes raw images, is silent, and ends."""
    program = folder / "gst-launch-1.0"
    program.write_text(GSTREAMER.format(python=sys.executable, frames=frames, silence=silence))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_a_camera_that_is_not_there_is_named() -> None:
    with pytest.raises(SourceError, match="no camera at `/dev/video73`: no such device, found .*; plug one in or name"):
        open_source("73")
    with pytest.raises(SourceError, match="no camera at `/dev/none`"):
        open_source("v4l2:/dev/none?size=640x480&fps=30")


def test_a_device_that_is_no_camera_fails_after_some_attempts(tmp_path: Path) -> None:
    (tmp_path / "video0").touch()
    with open_source(f"v4l2:{tmp_path}/video0", SourceOptions(backoff_s=(0.05, 0.1), give_up_s=0.3)) as source:
        assert list(source) == []
    assert source.state == "failed" and source.counters.errors >= 2
    assert "unplugged, in use, not permitted (group video) or no camera" in str(source.problems[0])


def test_without_gstreamer_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        MissingDependencyError, match=r"`csi:0` needs `gst-launch-1.0` .* apt install gstreamer1.0-tool"
    ):
        open_source("csi:0")


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("csi:front", "expected csi:SENSOR as in csi:0"),
        ("csi:0?flip=9", "flip 0 to 7"),
        ("csi:0?size=1281x720", "size: expected a width of whole eights"),
        ("csi:0?zoom=2", "unknown option `zoom`, expected size, fps, flip"),
        ("csi:0?fps=fast", "fps: expected a whole number, found `fast`"),
    ],
)
def test_settings_of_a_csi_camera_are_checked(uri: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        open_source(uri)


def test_a_csi_cameras_pictures_come_as_rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, frames=3, silence=30)
    assert csi_command("csi:1?size=64x32", "1")[-2:] == ["fd=1", "sync=false"]
    with open_source("csi:1?size=64x32", OPTIONS) as source:
        frames = source.read()
        shades = [next(frames).pixels for _ in range(3)]
        frames.close()
    assert [pixels.shape for pixels in shades] == [(32, 64, 3)] * 3
    assert all(np.ptp(pixels) == 0 for pixels in shades) and shades[0].max() == 0 and shades[2][0, 0, 0] > 120


def test_a_csi_camera_that_falls_silent_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, frames=2, silence=30)
    with open_source("csi:1?size=64x32", OPTIONS) as source:
        frames = source.read()
        for _ in range(5):
            next(frames)
        frames.close()
    assert source.counters.stalls == 2 and source.counters.reconnects == 2


def test_a_csi_command_that_ends_is_started_again_and_closing_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, frames=2, silence=0)
    with open_source("csi:1?size=64x32", OPTIONS) as source:
        frames = source.read()
        for _ in range(3):
            next(frames)
        source.close()
        assert len(list(frames)) <= 1
    assert source.counters.errors == 1 and source.state == "ended" and source.problems == []
