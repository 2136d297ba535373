"""The annotated video: H.264 where the encoder exists, else MPEG-4, with the frames' own times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np

from edgeface.errors import SinkError
from edgeface.imaging.geometry import letterbox
from edgeface.imaging.preprocess import fit_canvas
from edgeface.inference.overlay import draw_faces
from edgeface.inference.result import FrameResult
from edgeface.sinks.base import PartFile, Sink, writing
from edgeface.types import Image

_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"crf": "20", "preset": "veryfast"}),
    ("mpeg4", {"qscale": "3"}),
)
_TICKS_PER_S = 60_000
"""Time base: whole ticks for the usual frame rates, and below the 65,535 that MPEG-4 allows."""
_BT601 = 5
"""FFmpeg's number for the colour matrix that frames are converted with."""
_STILL_S = 0.5
"""How long an image without a time is shown."""


class VideoClock:
    """Times of an output, in ticks: from 0 whatever the source's clock says, and strictly growing.

    The next source follows the last frame of the one before, by that one's usual distance of frames. A clock that goes
    back by more than a second (a 33-bit counter that wrapped, a camera that restarted) goes on from there as well.
    """

    def __init__(self) -> None:
        self._source: str | None = None
        self._first_s = 0.0
        self._start = 0
        self._last = -1
        self._step = round(_TICKS_PER_S / 25)  # from the last frame but one to the last

    def __call__(self, source: str, pts_s: float | None) -> int:
        """The tick of the next frame of ``source``, which states ``pts_s`` seconds (``None``: a still image)."""
        if pts_s is None:
            self._step = round(_STILL_S * _TICKS_PER_S)
            return self._shown(self._last + self._step if self._last >= 0 else 0)
        tick = self._start + round((pts_s - self._first_s) * _TICKS_PER_S)
        if source != self._source or tick < self._last - _TICKS_PER_S:
            tick = self._last + self._step if self._last >= 0 else 0
            self._source, self._first_s, self._start = source, pts_s, tick
        elif tick > self._last:
            self._step = tick - self._last
        return self._shown(tick)

    def _shown(self, tick: int) -> int:
        self._last = max(tick, self._last + 1)
        return self._last


class VideoSink(Sink):
    """Writes frames with their faces drawn to a .mp4, .mkv or .mov file.

    The first frame sets the size, made even by repeating the last column or row, as 4:2:0 colour needs; later frames
    of another size are fitted into it. Times are kept (variable rates too), from 0 on; sources follow
    each other (``VideoClock``). The file appears
    when the sink is closed, playable, also when the frames end early; without any frame none appears.
    """

    shows_images = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._part = PartFile(path)
        self._container: Any = None
        self._stream: Any = None
        self._clock = VideoClock()
        self._closed = self._failed = False

    def append(self, result: FrameResult) -> None:
        """Draw and encode one frame."""
        if self._closed:
            raise SinkError(f"`{self.name}` is closed, open it again")
        drawn = draw_faces(result.frame.pixels, result.faces)
        with self._encoding():
            if self._container is None:
                self._open(drawn.shape[1], drawn.shape[0])
            self._encode(drawn, self._clock(result.frame.source, result.frame.pts_s))

    def close(self) -> None:
        """Finish the file and put it in its place; closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._container is not None:
                with self._encoding():
                    self._finish()
        finally:
            self._part.finish(keep=not self._failed and self._container is not None)

    def _open(self, width: int, height: int) -> None:
        import av

        codec, options = next((name, opts) for name, opts in _ENCODERS if _exists(name))
        indexed_last = self._part.path.suffix.lower() != ".mkv"  # then "faststart" moves the index to the front
        layout = {"movflags": "+faststart"} if indexed_last else {}
        self._container = av.open(f"file:{self._part.path.absolute()}", "w", options=layout)
        self._stream = self._container.add_stream(codec, rate=25, options=options)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
        self._stream.codec_context.colorspace = _BT601  # players guess BT.709 for large frames

    def _encode(self, drawn: Image, tick: int) -> None:
        import av

        frame = av.VideoFrame.from_ndarray(self._fitted(drawn), format="rgb24")
        frame.pts, frame.time_base = tick, Fraction(1, _TICKS_PER_S)
        self._mux(self._stream.encode(frame))

    def _fitted(self, drawn: Image) -> Image:
        """The image on this video's canvas: odd sides padded by their edge, another size scaled into it."""
        width, height = self._stream.width, self._stream.height
        across, down = width - drawn.shape[1], height - drawn.shape[0]
        if across in (0, 1) and down in (0, 1):
            return np.pad(drawn, ((0, down), (0, across), (0, 0)), mode="edge") if across or down else drawn
        longest = max(drawn.shape[:2]) * min(width / drawn.shape[1], height / drawn.shape[0])
        fit = letterbox(drawn.shape[1], drawn.shape[0], int(longest), multiple=1, upscale=float("inf"))
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[: fit.height, : fit.width] = fit_canvas(drawn, fit)
        return canvas

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            self._container.mux(packet)

    def _finish(self) -> None:
        try:
            self._mux(self._stream.encode(None))
        finally:
            self._container.close()

    @contextmanager
    def _encoding(self) -> Iterator[None]:
        """Turn FFmpeg's errors into one ``SinkError`` and remember that the file is not to be kept."""
        import av

        try:
            with writing(self.name):
                yield
        except av.FFmpegError as error:
            self._failed = True
            raise SinkError(f"cannot write `{self.name}`: {str(error.strerror or error).lower()}") from error
        except SinkError:
            self._failed = True
            raise


def _exists(encoder: str) -> bool:
    import av

    try:
        av.codec.Codec(encoder, "w")
    except ValueError:  # UnknownCodecError
        return False
    return True
