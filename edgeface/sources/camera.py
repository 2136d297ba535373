"""Cameras at this machine: USB and other Video4Linux ones through OpenCV, Jetson's CSI ones through GStreamer.

0, v4l2:/dev/video0?size=1280x720&fps=30
csi:0?size=1280x720&fps=30&flip=2
"""

from __future__ import annotations

import select
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgeface.common.addresses import public_name
from edgeface.errors import ConfigError, MissingDependencyError, SourceError
from edgeface.sources.base import SourceOptions
from edgeface.sources.live import CapturedFrame, LiveSource, StallError
from edgeface.sources.source_uri import Size, query_of
from edgeface.types import Image

_V4L2_OPTIONS: dict[str, type] = {"size": Size, "fps": float}
_CSI_OPTIONS: dict[str, type] = {"size": Size, "fps": int, "flip": int}
_POLL_S = 0.2


def camera_source(uri: str, options: SourceOptions) -> LiveSource:
    """A ``v4l2:`` or ``csi:`` camera, or a bare number, as a live source.

    Raises ``SourceError`` where there is no such device, ``MissingDependencyError`` where GStreamer is missing.
    """
    place, name = uri.partition("?")[0], public_name(uri)
    if place.lower().startswith("csi:"):
        command = csi_command(uri, place[4:] or "0")
        size = query_of(uri, _CSI_OPTIONS).get("size", (1280, 720))
        return LiveSource(name, lambda counters: CsiStream(command, size, options), options)
    device = f"/dev/video{place}" if place.isdecimal() else place.partition(":")[2] or "/dev/video0"
    device = f"/dev/video{device}" if device.isdecimal() else device
    wanted = query_of(uri, _V4L2_OPTIONS)
    if not Path(device).exists():
        found = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        shown = public_name(f"v4l2:{device}").partition(":")[2]
        raise SourceError(f"no camera at `{shown}`: no such device, found {found}; plug one in or name another")
    return LiveSource(name, lambda counters: V4l2Stream(device, wanted, options), options)


class V4l2Stream:
    """A Video4Linux camera, opened by OpenCV, which waits for a frame with a time limit (FFmpeg's own does not)."""

    finite = False

    def __init__(self, device: str, wanted: dict[str, Any], options: SourceOptions) -> None:
        import cv2

        settings = [cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1e3 * options.stall_s), cv2.CAP_PROP_BUFFERSIZE, 2]
        if size := wanted.get("size"):
            settings += [cv2.CAP_PROP_FRAME_WIDTH, size[0], cv2.CAP_PROP_FRAME_HEIGHT, size[1]]
        self._capture = cv2.VideoCapture(device, cv2.CAP_V4L2, settings)
        if not self._capture.isOpened():
            raise SourceError(f"cannot open `{device}`: unplugged, in use, not permitted (group video) or no camera")
        if fps := wanted.get("fps"):
            self._capture.set(cv2.CAP_PROP_FPS, fps)
        self._time_property = cv2.CAP_PROP_POS_MSEC
        self._stall_s = options.stall_s

    def shots(self) -> Iterator[CapturedFrame]:
        """Images with the driver's times. Raises ``StallError`` for none in time, ``SourceError`` once unplugged."""
        while True:
            asked_s = time.monotonic()
            read, pixels = self._capture.read()
            arrived_s = time.monotonic()
            if not read:
                if arrived_s - asked_s >= 0.9 * self._stall_s:
                    raise StallError(f"silent for {self._stall_s:g} s")
                raise SourceError("the camera gives no images any more")
            stated_s = self._capture.get(self._time_property) / 1e3 or None
            yield CapturedFrame(np.ascontiguousarray(pixels[..., ::-1]), stated_s, arrived_s)

    def interrupt(self) -> None:
        """A wait for the driver ends by itself after ``stall_s``."""

    def close(self) -> None:
        """Free the camera, in the thread that reads it."""
        self._capture.release()


def csi_command(uri: str, sensor: str) -> list[str]:
    """The GStreamer command that writes a CSI camera's raw I420 images to its output.

    ``flip`` is nvvidconv's flip-method 0…7 (2: upside down). Raises ``MissingDependencyError`` without GStreamer,
    ``ConfigError`` for a sensor or an option out of range.
    """
    wanted = query_of(uri, _CSI_OPTIONS)
    width, height = wanted.get("size", (1280, 720))
    fps, flip = wanted.get("fps", 30), wanted.get("flip", 0)
    if not sensor.isdecimal() or not 0 <= flip <= 7 or not 1 <= fps <= 240:
        raise ConfigError(f"`{public_name(uri)}`: expected csi:SENSOR as in csi:0, flip 0 to 7 and fps 1 to 240")
    if width % 8 or height % 2:
        wanted_size = "a width of whole eights and an even height"
        raise ConfigError(f"`{public_name(uri)}`: size: expected {wanted_size}, found {width}x{height}")
    program = shutil.which("gst-launch-1.0")
    if program is None:
        raise MissingDependencyError(
            f"`{public_name(uri)}` needs `gst-launch-1.0` with NVIDIA's nvarguscamerasrc, part of JetPack: "
            "apt install gstreamer1.0-tools on a Jetson; on other machines use v4l2: or rtsp://"
        )
    pipeline = (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM),width={width},height={height},framerate={fps}/1 ! "
        f"nvvidconv flip-method={flip} ! video/x-raw,format=I420,width={width},height={height} ! "
        "queue leaky=downstream max-size-buffers=1 ! fdsink fd=1 sync=false"
    )
    return [program, "-q", *pipeline.split(" ")]


class CsiStream:
    """Raw I420 images of ``size`` (width, height) that a command writes to its output; it is ended on closing."""

    finite = False

    def __init__(self, command: list[str], size: tuple[int, int], options: SourceOptions) -> None:
        self._size, self._stall_s = size, options.stall_s
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._interrupted = threading.Event()

    def shots(self) -> Iterator[CapturedFrame]:
        """Images as they come, without times. Raises ``StallError`` for silence, ``SourceError`` for its end."""
        import cv2

        width, height = self._size
        while (data := self._read(width * height * 3 // 2)) is not None:
            planes = np.frombuffer(data, np.uint8).reshape(height * 3 // 2, width)
            pixels: Image = np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420), np.uint8)
            yield CapturedFrame(pixels, None, time.monotonic())

    def interrupt(self) -> None:
        """End a wait."""
        self._interrupted.set()

    def close(self) -> None:
        """End the command; one that does not listen is killed."""
        self._process.terminate()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _read(self, length: int) -> bytearray | None:
        """The next ``length`` bytes; ``None`` once interrupted."""
        data, last_s = bytearray(), time.monotonic()
        while len(data) < length:
            if self._interrupted.is_set():
                return None
            if not select.select([self._output], [], [], _POLL_S)[0]:
                if time.monotonic() - last_s > self._stall_s:
                    raise StallError(f"silent for {self._stall_s:g} s")
                continue
            part = self._output.read(length - len(data))
            if not part:
                raise SourceError(f"the camera's command ended with code {self._process.wait()}")
            data, last_s = data + part, time.monotonic()
        return data
