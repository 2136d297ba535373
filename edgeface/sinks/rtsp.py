"""The annotated stream pushed to an RTSP server: ``rtsp://host:8554/name`` (MediaMTX, go2rtc, a recorder)."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import av
import numpy as np

from edgeface.errors import SinkError
from edgeface.inference.overlay import draw_faces
from edgeface.inference.result import FrameResult
from edgeface.sinks.reconnecting import ReconnectingSink
from edgeface.sinks.rtsp_client import TICKS_PER_S, Login, RtspPush, nal_units
from edgeface.sinks.sink_uri import SinkUri
from edgeface.types import Image

_BT601 = 5
_KEYFRAME_EVERY = 50
_LIVE = {"preset": "ultrafast", "tune": "zerolatency"}


class RtspSink(ReconnectingSink):
    """Encodes annotated frames as H.264 and pushes them over RTSP in TCP; a server that is away is called again.

    Frames carry the time they are sent, so that the stream stays live whatever the source's clock does. The first
    frame of a connection sets the size; one of another size starts a new connection. Of several sources only the first
    is sent: RTSP has one image. Options: ``bitrate`` in kbit/s (2000), ``timeout`` seconds (5).
    """

    shows_images = True

    def __init__(self, uri: str) -> None:
        given = SinkUri(uri, {"bitrate": 2000, "timeout": 5.0})
        super().__init__(given.name)
        url = given.url()
        if not url.hostname or url.path in ("", "/"):
            raise SinkError(f"`{self.name}` is no address to push to, expected rtsp://HOST:8554/NAME")
        self._url, self._login = url, Login(url)
        self._bitrate = int(1000 * given.number("bitrate", 50, 100_000))
        self._timeout_s = given.number("timeout", 0.1, 120)
        self._connection: RtspPush | None = None
        self._encoder: Any = None
        self._size = (0, 0)
        self._started_s = 0.0
        self._tick = -1
        self._source: str | None = None

    def append(self, result: FrameResult) -> None:
        """Draw, encode and send one frame; returns when it was sent or given up."""
        self._source = result.frame.source if self._source is None else self._source
        if result.frame.source != self._source:
            return
        drawn = even(draw_faces(result.frame.pixels, result.faces))
        self.retry(lambda: self._push(drawn))

    def _push(self, drawn: Image) -> bool:
        size = (drawn.shape[1], drawn.shape[0])
        if size != self._size:
            self._hang_up()
        try:
            if self._encoder is None:
                self._encoder, self._size = self._open_encoder(size), size
                self._started_s, self._tick = time.monotonic(), -1
            self._tick = max(self._tick + 1, round((time.monotonic() - self._started_s) * TICKS_PER_S))
            units = self._encoded(drawn)
            if self._connection is None:
                self._connection = RtspPush(self._url, units, self._timeout_s, self._login)
            self._connection.send(units, self._tick)
        except (av.FFmpegError, OSError) as error:
            self._hang_up()
            raise OSError(f"cannot push: {str(getattr(error, 'strerror', None) or error).lower()}") from error
        return True

    def _open_encoder(self, size: tuple[int, int]) -> Any:
        encoder: Any = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height = size
        encoder.pix_fmt, encoder.options = "yuv420p", _LIVE
        encoder.time_base, encoder.framerate = Fraction(1, TICKS_PER_S), Fraction(25)
        encoder.bit_rate, encoder.gop_size, encoder.colorspace = self._bitrate, _KEYFRAME_EVERY, _BT601
        return encoder

    def _encoded(self, drawn: Image) -> list[bytes]:
        """The image's NAL units: this encoder holds none back."""
        frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
        frame.pts, frame.time_base = self._tick, Fraction(1, TICKS_PER_S)
        return nal_units(b"".join(bytes(packet) for packet in self._encoder.encode(frame)))

    def _hang_up(self) -> None:
        """A connection begins with a key frame of a new encoder."""
        connection, self._connection, self._encoder = self._connection, None, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """End the stream; a server that is gone is no error."""
        self._hang_up()


def even(image: Image) -> Image:
    """The image with even sides, which 4:2:0 colour needs: the last column or row once more."""
    down, across = image.shape[0] % 2, image.shape[1] % 2
    return np.pad(image, ((0, down), (0, across), (0, 0)), mode="edge") if down or across else image
