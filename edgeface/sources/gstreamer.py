"""Images from a GStreamer pipeline of your own, by an ``appsink``: a Jetson's cameras and whatever else it can play.

    gst:nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 ! nvvidconv
    gst:v4l2src device=/dev/video0 ! jpegdec

What is written is a ``gst-launch-1.0`` pipeline without its end; conversion to RGB and the sink are added. On a Jetson
the image leaves the camera's memory (NVMM) once, by ``nvvidconv``, which needs no processor.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeface.common.addresses import public_name, scrubbed
from edgeface.errors import ConfigError, MissingDependencyError, SourceError
from edgeface.sources.base import SourceOptions
from edgeface.sources.live import CapturedFrame, LiveSource, StallError

_END = "videoconvert ! video/x-raw,format=RGB ! appsink name=edgeface max-buffers=1 drop=true sync=false"
_POLL_S = 0.2


def gstreamer_source(uri: str, options: SourceOptions) -> LiveSource:
    """A ``gst:`` pipeline as a live source.

    Raises ``MissingDependencyError`` without GStreamer's Python bindings, ``ConfigError`` for a pipeline that GStreamer
    cannot make.
    """
    description = uri.partition(":")[2].strip().rstrip("!").strip()
    if not description:
        raise ConfigError("`gst:` names no pipeline; expected one as for gst-launch-1.0, such as gst:videotestsrc")
    name = public_name(uri)
    gst = _gstreamer(name)
    _made(gst, description).set_state(gst.State.NULL)  # a mistake in it is no matter of trying again
    return LiveSource(name, lambda counters: GstStream(gst, _made(gst, description), options, description), options)


def _gstreamer(name: str) -> Any:
    try:
        gi = importlib.import_module("gi")
        gi.require_version("Gst", "1.0")
        gi.require_version("GstVideo", "1.0")
        importlib.import_module("gi.repository.GstVideo")
        gst = importlib.import_module("gi.repository.Gst")
    except (ImportError, ValueError) as error:
        raise MissingDependencyError(
            f"`{name}` needs GStreamer with its Python bindings ({error}): apt install python3-gi gir1.2-gstreamer-1.0 "
            "gir1.2-gst-plugins-base-1.0, in a virtual environment made with --system-site-packages"
        ) from error
    gst.init(None)
    return gst


def _made(gst: Any, description: str) -> Any:
    try:
        return gst.parse_launch(f"{description} ! {_END}")
    except Exception as error:  # GLib's own, whose class lives in the bindings; it may quote a password
        name = public_name(f"gst:{description}")
        raise ConfigError(f"GStreamer cannot make the pipeline `{name}`: {scrubbed(error, description)}") from None


class GstStream:
    """A pipeline that plays. It ends where its source does, and is connected again after an error."""

    finite = True

    def __init__(self, gst: Any, pipeline: Any, options: SourceOptions, description: str = "") -> None:
        self._gst, self._pipeline, self._stall_s = gst, pipeline, options.stall_s
        self._description = description
        self._video = importlib.import_module("gi.repository.GstVideo")
        self._sink = pipeline.get_by_name("edgeface")
        self._interrupted = threading.Event()
        if pipeline.set_state(gst.State.PLAYING) == gst.StateChangeReturn.FAILURE:
            reason = self._error() or "it cannot be started"
            self.close()
            raise SourceError(f"GStreamer: {reason}")

    def shots(self) -> Iterator[CapturedFrame]:
        """Images as they come. Raises ``StallError`` for silence, ``SourceError`` for what the pipeline reports."""
        heard_s = time.monotonic()
        while not self._interrupted.is_set():
            sample = self._sink.emit("try-pull-sample", int(_POLL_S * self._gst.SECOND))
            now_s = time.monotonic()
            if sample is not None:
                heard_s = now_s
                yield self._shot(sample, now_s)
            elif reason := self._error():
                raise SourceError(f"GStreamer: {reason}")
            elif self._sink.get_property("eos"):
                return
            elif now_s - heard_s > self._stall_s:
                raise StallError(f"silent for {self._stall_s:g} s")

    def interrupt(self) -> None:
        """End a wait."""
        self._interrupted.set()

    def close(self) -> None:
        """Stop the pipeline, which frees the camera."""
        self._pipeline.set_state(self._gst.State.NULL)

    def _shot(self, sample: Any, arrived_s: float) -> CapturedFrame:
        """The sample's image, copied out of GStreamer's memory, which is used again."""
        info = self._video.VideoInfo.new_from_caps(sample.get_caps())
        buffer = sample.get_buffer()
        mapped, memory = buffer.map(self._gst.MapFlags.READ)
        if not mapped:
            raise SourceError("GStreamer: an image's memory cannot be read; end the pipeline with nvvidconv")
        try:
            rows = np.frombuffer(memory.data, np.uint8)[: info.height * info.stride[0]]
            pixels = rows.reshape(info.height, info.stride[0])[:, : 3 * info.width].reshape(info.height, info.width, 3)
            pixels = pixels.copy()
        finally:
            buffer.unmap(memory)
        stated_s = None if buffer.pts == self._gst.CLOCK_TIME_NONE else buffer.pts / self._gst.SECOND
        return CapturedFrame(pixels, stated_s, arrived_s)

    def _error(self) -> str:
        """The first error on the pipeline's bus, in one line."""
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        if message is None:
            return ""
        error, _ = message.parse_error()
        return scrubbed(error.message, self._description).strip()
