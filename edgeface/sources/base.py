"""Where frames come from, by URI: images, videos, cameras, network streams, made-up faces.

    with open_source("rtsp://camera/stream") as source:
        for frame in source:
            ...
    for problem in source.problems:
        print(problem)

A file gives every frame. A live source gives the newest one and counts what it throws away; it connects again, with
growing pauses, whenever it fails or falls silent. A source that fails for good ends instead of raising, so that what
was decoded is kept: ask ``problems``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

from edgeface.errors import ConfigError, EdgefaceError
from edgeface.sources.frame_queue import Counters
from edgeface.types import Frame

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")
STREAM_SCHEMES = ("http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
DECODERS = ("auto", "cpu", "nvdec")
"""What decodes videos: the processor or an NVIDIA GPU's video engine (``sources.nvdec``)."""


class Source(Protocol):
    """Frames in order, once.

    ``name`` is shown in results, logs, metrics and topics: it holds no secret (``common.addresses.public_name``).
    ``live`` tells a camera from a file; ``frame_count`` is what the file promises (``None``: unknown); ``problems``
    fills up on the way. ``state`` is one of ``sources.live.STATES``; ``read`` gives every frame decoded, in the thread
    that asks, until ``close`` is called, from whichever thread.
    """

    name: str
    live: bool
    frame_count: int | None
    problems: list[EdgefaceError]
    counters: Counters

    @property
    def state(self) -> str: ...

    def read(self) -> Generator[Frame, None, None]: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Source: ...

    def __exit__(self, *exc: object) -> None: ...


@dataclass(frozen=True)
class SourceOptions:
    """How sources behave, mostly live ones.

    ``open_s`` seconds for one attempt to connect; ``stall_s`` without a frame after which to connect again;
    ``backoff_s`` first and longest pause between attempts; ``give_up_s`` without a frame after which the source has
    failed (``None``: never); ``max_lag_s`` behind its own clock from which on a stream's frames are skipped undecoded;
    ``rtsp_transport`` "tcp" or "udp". ``decoder`` is one of ``DECODERS``, for files as well. Raises
    ``ConfigError`` for a setting out of range.
    """

    open_s: float = 5.0
    stall_s: float = 5.0
    backoff_s: tuple[float, float] = (0.2, 1.0)
    give_up_s: float | None = 300.0
    max_lag_s: float = 1.0
    rtsp_transport: str = "tcp"
    decoder: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("open_s", "stall_s", "max_lag_s", "give_up_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}: expected more than 0 seconds, found {value:g}")
        if not 0 < self.backoff_s[0] <= self.backoff_s[1]:
            raise ConfigError(f"backoff_s: expected two growing pauses above 0 seconds, found {self.backoff_s}")
        if self.rtsp_transport not in ("tcp", "udp"):
            raise ConfigError(f"rtsp_transport: expected tcp or udp, found `{self.rtsp_transport}`")
        if self.decoder not in DECODERS:
            raise ConfigError(f"decoder: expected one of {', '.join(DECODERS)}, found `{self.decoder}`")
