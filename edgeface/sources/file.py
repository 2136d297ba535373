"""Sources with an end: an image, a directory of images, a video file. Every frame is given, none is thrown away."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

from edgeface.common.names import shown_name
from edgeface.errors import EdgefaceError, ImageError, SourceError
from edgeface.imaging.image_io import list_images, read_image
from edgeface.sources.ffmpeg import FrameConverter, reason
from edgeface.sources.frame_queue import Counters
from edgeface.sources.nvdec import open_video
from edgeface.types import Frame

_FALLBACK_RATE = 25.0
"""Frames a second where a container states neither times nor a rate."""
_REMOTE_TIMEOUT_S = 15.0


class FileSource:
    """What sources with an end share: counters, a state, a context that closes."""

    live = False
    frame_count: int | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[EdgefaceError] = []
        self.counters = Counters()
        self._state = "connecting"

    @property
    def state(self) -> str:
        """ "connecting" before the first frame, then "live", at last "ended" or "failed"."""
        return self._state

    def __iter__(self) -> Iterator[Frame]:
        """Every frame in order; problems are counted as errors."""
        for frame in self._frames():
            self._state = "live"
            self.counters.frames += 1
            self.counters.errors = len(self.problems)
            yield frame
        self.counters.errors = len(self.problems)
        self._state = "failed" if self.problems else "ended"

    def read(self) -> Generator[Frame, None, None]:
        """The same: a file's reader waits for anyone who takes its frames."""
        yield from self

    def _frames(self) -> Iterator[Frame]:
        raise NotImplementedError

    def close(self) -> None:
        """Free what is open; closing twice is harmless."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ImageSource(FileSource):
    """One image, or those of a directory by name; one that cannot be read becomes a problem and the others follow."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(shown_name(path))
        self.paths = list_images(path)
        self.frame_count = len(self.paths)

    def _frames(self) -> Iterator[Frame]:
        """Frames without a time; ``source`` is the image's path, ``index`` its place among the images."""
        for index, path in enumerate(self.paths):
            try:
                yield Frame(read_image(path), None, shown_name(path), index)
            except ImageError as problem:
                self.problems.append(problem)


class VideoSource(FileSource):
    """The frames of a video file's first video stream, upright, with the container's own times.

    ``pts_s`` grows strictly: a frame without a time, or one not later than its predecessor, is put one frame's length
    after it. Frames are as a player shows them (``ffmpeg.FrameConverter``). A file that breaks off yields what can be
    decoded, then has one ``SourceError`` in ``problems``. ``name`` stands for an address that should not be shown as it
    is, ``decoder`` is one of ``sources.base.DECODERS``.
    """

    def __init__(self, path: str | os.PathLike[str], name: str | None = None, decoder: str = "cpu") -> None:
        import av

        super().__init__(name or shown_name(path))
        local = os.path.exists(path)
        try:
            address = f"file:{os.path.abspath(path)}" if local else str(path)  # a colon in a name is no protocol
            timeout_s = None if local else _REMOTE_TIMEOUT_S
            self._container = open_video(address, self.name, decoder, timeout=timeout_s)
        except av.FFmpegError as error:
            raise SourceError(
                f"cannot open `{self.name}` as a video: {reason(error)}; expected a video file, an image or a "
                "directory of images"
            ) from None  # the cause names the whole address
        stream = _moving(self._container)
        if stream is None:
            found = _stream_types(self._container)
            self._container.close()
            raise SourceError(f"`{self.name}` has no video stream, only {found}")
        self._stream = stream
        self._stream.thread_type = "AUTO"
        try:
            self._shown = FrameConverter(self._stream)
        except SourceError as error:
            self._container.close()
            raise SourceError(f"cannot open `{self.name}`: {error}") from error
        self._stream.thread_type = "AUTO"
        self.frame_count = self._stream.frames or None
        self.rate = float(self._stream.average_rate or _FALLBACK_RATE)

    def _frames(self) -> Iterator[Frame]:
        import av

        index, end_s, pts_s = 0, 0.0, None
        try:
            for frame in self._container.decode(self._stream):
                pts_s = _growing(frame.time, pts_s, 1 / self.rate)
                yield Frame(self._shown(frame), pts_s, self.name, index)
                index, end_s = index + 1, pts_s + _duration_s(frame, self.rate)
        except (av.FFmpegError, SourceError) as error:
            self._broke_off(index, end_s, reason(error))
            return
        if self._ends_early(index, end_s):
            self._broke_off(index, end_s, "the file ends early")

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._container.close()

    def _ends_early(self, frames: int, end_s: float) -> bool:
        """Whether the container promised more: demuxers meet a cut-off file's end in silence.

        Both the stated count and the stated time must be missed, since edit lists hide frames and times are rounded.
        """
        promised_s = _promised_end_s(self._container, self._stream)
        short_in_time = promised_s is not None and promised_s - end_s > max(0.1, 2.5 / self.rate)
        return frames == 0 or (short_in_time and (self.frame_count is None or frames < self.frame_count))

    def _broke_off(self, frames: int, end_s: float, why: str) -> None:
        of = f" of {self.frame_count}" if self.frame_count else ""
        kept = f"broke off after {frames}{of} frames ({end_s:.2f} s)"
        self.problems.append(SourceError(f"`{self.name}` {kept}: {why}; what was decoded is kept"))


def _growing(stated_s: float | None, last_s: float | None, step_s: float) -> float:
    """The stated time of a frame where it is later than its predecessor's, else one step after that."""
    if stated_s is not None and (last_s is None or stated_s > last_s):
        return stated_s
    return 0.0 if last_s is None else last_s + step_s


def _duration_s(frame: Any, rate: float) -> float:
    return float(frame.duration * frame.time_base) if frame.duration else 1 / rate


def _promised_end_s(container: Any, stream: Any) -> float | None:
    """When the last frame should end by the container's word, in seconds."""
    if stream.duration:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if container.duration and len(container.streams) == 1:  # else it may be another stream's
        return float(container.duration / 1e6)
    return None


def _moving(container: Any) -> Any:
    """The first video stream that is not the cover of a song."""
    from av.stream import Disposition

    streams = container.streams.video
    return next((stream for stream in streams if not stream.disposition & Disposition.attached_pic), None)


def _stream_types(container: Any) -> str:
    return ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
