"""Open a source by its URI; the only file that knows them all."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgeface.common.addresses import (
    HIDDEN,
    address_parts,
    public_name,
    scheme_of,
    split_name,
    told_apart,
    with_secrets,
)
from edgeface.common.names import shown_name
from edgeface.errors import EdgefaceError, ImageError, SourceError
from edgeface.imaging.image_io import SUFFIXES
from edgeface.sources.base import STREAM_SCHEMES, VIDEO_SUFFIXES, Source, SourceOptions
from edgeface.sources.file import FileSource
from edgeface.sources.source_uri import local_path
from edgeface.types import Frame

_KINDS = (
    "an image, a folder, a video, a glob, a camera (0, v4l2:/dev/video0, csi:0), gst: and a pipeline, a stream "
    f"({', '.join(f'{scheme}://' for scheme in ('rtsp', 'http', 'udp'))}) or synthetic:"
)


def open_sources(uris: Iterable[str | os.PathLike[str]], options: SourceOptions | None = None) -> list[Source]:
    """``open_source`` for each; a glob's files, by name, become sources of their own that are opened when it is their
    turn. Those of the same name are numbered, so that no results of two are mixed. Raises ``SourceError`` where a glob
    matches nothing."""
    found: list[Source] = []
    try:
        for uri in uris:
            found.extend(_globbed(os.fspath(uri), options) or [open_source(uri, options)])
    except EdgefaceError:
        for source in found:
            source.close()
        raise
    for source, name in zip(found, told_apart(source.name for source in found)):
        source.name = name
    return found


def open_source(uri: str | os.PathLike[str], options: SourceOptions | None = None) -> Source:
    """Open one source by its URI, which may end in ``#name=NAME``; ``${NAME}`` in it is an environment variable.

    A live one connects when it is read, and raises only for what no waiting mends. Raises ``SourceError`` where there
    is nothing, no video or no such kind, ``ImageError`` for a directory without images, ``ConfigError`` for a query
    it does not know, an address or a name that cannot be read, ``MissingDependencyError`` for a camera that needs a
    program which is not installed.
    """
    address, name = split_name(os.fspath(uri))
    source = _opened(address, options or SourceOptions())
    source.name = name or source.name
    return source


def _opened(text: str, options: SourceOptions) -> Source:
    path = Path(text)
    scheme = scheme_of(text)
    if scheme and not os.path.exists(text):
        return _by_scheme(scheme, with_secrets(text), options)
    if os.path.isdir(text) or (os.path.exists(text) and path.suffix.lower() in SUFFIXES):
        from edgeface.sources.file import ImageSource

        return ImageSource(path)
    if not os.path.exists(text):
        hint = f"; expected {_KINDS}" if not path.suffix else ""
        raise SourceError(f"no source at `{public_name(text)}`: no such file or directory{hint}")
    from edgeface.sources.file import VideoSource

    return VideoSource(path, decoder=options.decoder)


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
    if scheme in ("http", "https") and Path(address_parts(uri).path).suffix.lower() in VIDEO_SUFFIXES:
        from edgeface.sources.file import VideoSource

        return VideoSource(uri, public_name(uri), options.decoder)
    if scheme in STREAM_SCHEMES:
        from edgeface.sources.network_stream import stream_source

        return stream_source(uri, options)
    if scheme == "file":
        if place := local_path(uri):
            return _opened(os.fspath(place), options)
        where = public_name(uri)
        raise SourceError(
            f"no source at `{where}`: a file: URI names a place on this machine, as in file:///x/a%20b.mp4"
        )
    kind = HIDDEN if public_name(uri) == HIDDEN else f"{scheme}:"  # a forgotten scheme makes a user name one
    raise SourceError(f"no source of the kind `{kind}`; expected {_KINDS}")


def _globbed(uri: str, options: SourceOptions | None) -> list[Source]:
    """A source for each file that a glob names; none where ``uri`` is no glob."""
    place = local_path(uri)
    if place is None or os.path.exists(place) or not glob.has_magic(str(place)):
        return []
    paths = sorted(glob.glob(str(place), recursive=True))
    if not paths:
        raise SourceError(f"no source at `{uri}`: the glob matches no file")
    from edgeface.sources.open import DeferredSource

    return [DeferredSource(path, options) for path in paths]


class DeferredSource(FileSource):
    """A file that is opened when it is read; one that cannot be opened is a problem, and others go on."""

    def __init__(self, name: str, options: SourceOptions | None = None) -> None:
        super().__init__(shown_name(name))
        self._path, self._options = name, options

    def _frames(self) -> Iterator[Frame]:
        try:
            with open_source(self._path, self._options) as opened:
                self.problems = opened.problems
                opened.name = self.name
                yield from opened
        except (SourceError, ImageError) as problem:
            self.problems.append(problem)
