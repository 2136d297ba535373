"""Where frames come from, by URI: pictures, videos, cameras, network streams, made-up faces.

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

import glob
import os
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from edgeface.errors import ConfigError, EdgefaceError, SourceError
from edgeface.imaging.image_io import SUFFIXES
from edgeface.sources.frame_queue import Counters
from edgeface.types import Frame

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")
STREAM_SCHEMES = ("http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
DECODERS = ("auto", "cpu", "nvdec")
"""What decodes videos: the processor or an NVIDIA GPU's video engine (``source_nvdec``)."""
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)  # two letters or more: C:\ is a place on a disk
_SECRET = re.compile(r"pass|pwd|token|key|secret|auth|user|sig", re.IGNORECASE)
_KINDS = (
    "a picture, a folder, a video, a glob, a camera (0, v4l2:/dev/video0, csi:0), gst: and a pipeline, a stream "
    f"({', '.join(f'{scheme}://' for scheme in ('rtsp', 'http', 'udp'))}) or synthetic:"
)


class Source(Protocol):
    """Frames in order, once.

    ``live`` tells a camera from a file; ``frame_count`` is what the file promises (``None``: unknown); ``problems``
    fills up on the way. ``state`` is one of ``source_live.STATES``; ``read`` gives every frame decoded, in the thread
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


def open_sources(uris: Iterable[str | os.PathLike[str]], options: SourceOptions | None = None) -> list[Source]:
    """``open_source`` for each; a glob's files, by name, become sources of their own that are opened when it is their
    turn. Raises ``SourceError`` where a glob matches nothing."""
    found: list[Source] = []
    try:
        for uri in uris:
            found.extend(_globbed(os.fspath(uri), options) or [open_source(uri, options)])
    except EdgefaceError:
        for source in found:
            source.close()
        raise
    return found


def open_source(uri: str | os.PathLike[str], options: SourceOptions | None = None) -> Source:
    """Open one source by its URI.

    A live one connects when it is read, and raises only for what no waiting mends. Raises ``SourceError`` where there
    is nothing, no video or no such kind, ``ImageError`` for a directory without pictures, ``ConfigError`` for a query
    it does not know, ``MissingDependencyError`` for a camera that needs a program which is not installed.
    """
    options = options or SourceOptions()
    text, path = os.fspath(uri), Path(uri)
    scheme = _scheme(text)
    if scheme and not path.exists():
        return _by_scheme(scheme, text, options)
    if path.is_dir() or (path.is_file() and path.suffix.lower() in SUFFIXES):
        from edgeface.sources.file import ImageSource

        return ImageSource(path)
    if not path.exists():
        hint = f"; expected {_KINDS}" if not path.suffix else ""
        raise SourceError(f"no source at `{uri}`: no such file or directory{hint}")
    from edgeface.sources.file import VideoSource

    return VideoSource(path, decoder=options.decoder)


def is_local(uri: str) -> bool:
    """Whether ``uri`` is a place on a disk, not a camera or an address."""
    return Path(uri).exists() or not _scheme(uri)


def public_name(uri: str) -> str:
    """``uri`` without user, password and secrets in its query, for logs and results."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri
    query = urlencode(
        [(key, "***" if _SECRET.search(key) else value) for key, value in parse_qsl(parts.query)], safe="*"
    )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def query_of(uri: str, known: dict[str, type]) -> dict[str, Any]:
    """The options after ``?`` as their types. Raises ``ConfigError`` for one that is unknown or malformed."""
    given: dict[str, Any] = {}
    for key, text in parse_qsl(uri.partition("?")[2], keep_blank_values=True):
        if key not in known:
            raise ConfigError(f"`{uri}`: unknown option `{key}`, expected {', '.join(known)}")
        try:
            given[key] = known[key](text)
        except ValueError as error:
            raise ConfigError(f"`{uri}`: {key}: expected {_WANTED[known[key]]}, found `{text}`") from error
    return given


class Size(tuple[int, int]):
    """Width and height in pixels, written 640x360."""

    def __new__(cls, text: str) -> Size:
        match = re.fullmatch(r"(\d+)x(\d+)", text)
        if not match or not (0 < int(match[1]) <= 16_384 and 0 < int(match[2]) <= 16_384):
            raise ValueError
        return super().__new__(cls, (int(match[1]), int(match[2])))


_WANTED: dict[type, str] = {Size: "a size such as 640x360", int: "a whole number", float: "a number"}


def _scheme(uri: str) -> str:
    """The kind of a URI in lower case, "v4l2" for a bare camera number, "" for a path."""
    match = _SCHEME.match(uri)
    return "v4l2" if uri.isdecimal() else match[1].lower() if match else ""


def _by_scheme(scheme: str, uri: str, options: SourceOptions) -> Source:
    if scheme in ("v4l2", "csi"):
        from edgeface.sources.camera import camera_source

        return camera_source(uri, options)
    if scheme == "gst":
        from edgeface.sources.gstreamer import gstreamer_source

        return gstreamer_source(uri, options)
    if scheme == "synthetic":
        from edgeface.sources.synthetic import synthetic_source

        return synthetic_source(uri, options)
    if scheme in ("http", "https") and Path(urlsplit(uri).path).suffix.lower() in VIDEO_SUFFIXES:
        from edgeface.sources.file import VideoSource

        return VideoSource(uri, public_name(uri), options.decoder)
    if scheme in STREAM_SCHEMES:
        from edgeface.sources.network_stream import stream_source

        return stream_source(uri, options)
    if scheme == "file":
        return open_source(urlsplit(uri).path, options)
    raise SourceError(f"no source of the kind `{scheme}:`; expected {_KINDS}")


def _globbed(uri: str, options: SourceOptions | None) -> list[Source]:
    """A source for each file that a glob names; none where ``uri`` is no glob."""
    if not is_local(uri) or Path(uri).exists() or not glob.has_magic(uri):
        return []
    paths = sorted(glob.glob(uri, recursive=True))
    if not paths:
        raise SourceError(f"no source at `{uri}`: the glob matches no file")
    from edgeface.sources.open import DeferredSource

    return [DeferredSource(path, options) for path in paths]
