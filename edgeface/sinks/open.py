"""Open a sink by its URI; the only file that knows them all."""

from __future__ import annotations

import os
from pathlib import Path

from edgeface.common.addresses import is_address, public_name
from edgeface.errors import SinkError
from edgeface.sinks.base import Sink
from edgeface.sinks.file_sinks import CsvSink, JsonlSink, PictureSink, StdoutSink
from edgeface.sinks.sink_uri import LIVE_SCHEMES
from edgeface.sources.source_uri import local_path

VIDEO_SUFFIXES = (".mkv", ".mov", ".mp4")
_KINDS = (
    f"a name ending in .jsonl, .csv, {', '.join(VIDEO_SUFFIXES)}, a directory ending in /, - for JSON lines on "
    f"stdout, or {', '.join(f'{name}:' for name in LIVE_SCHEMES)}"
)


def open_sink(uri: str | os.PathLike[str]) -> Sink:
    """Open the sink a name stands for: ``-`` (JSON lines on stdout), a file by its suffix, a directory ending in ``/``.

    Suffixes: .jsonl, .csv, .mp4, .mkv, .mov; live sinks by scheme: display:, http://, rtsp://, mqtt://, webhook:
    (``sink_uri.LIVE_SCHEMES``). Raises ``SinkError`` for another, or where it cannot be written.
    """
    text = os.fspath(uri)
    scheme = text.partition(":")[0].lower()
    if ":" in text and scheme in LIVE_SCHEMES:
        from edgeface.sinks.open import open_live

        return open_live(scheme, text)
    if scheme == "file":
        text = os.fspath(local_path(text) or text) + ("/" if text.endswith("/") else "")
    suffix = Path(text).suffix.lower()
    if is_address(text):
        raise SinkError(f"no sink for `{public_name(text)}`: expected {_KINDS}")
    if text == "-":
        return StdoutSink()
    if text.endswith(("/", os.sep)) or Path(text).is_dir():
        return PictureSink(text)
    if suffix == ".jsonl":
        return JsonlSink(text)
    if suffix == ".csv":
        return CsvSink(text)
    if suffix in VIDEO_SUFFIXES:
        from edgeface.sinks.video import VideoSink

        return VideoSink(text)
    raise SinkError(f"no sink for `{public_name(text)}`: expected {_KINDS}")


def open_live(scheme: str, uri: str) -> Sink:
    """Open the live sink of one of ``sink_uri.LIVE_SCHEMES``."""
    if scheme == "display":
        from edgeface.sinks.display import DisplaySink

        return DisplaySink(uri)
    if scheme in ("http", "https"):
        from edgeface.sinks.http import HttpSink

        return HttpSink(uri)
    if scheme == "rtsp":
        from edgeface.sinks.rtsp import RtspSink

        return RtspSink(uri)
    if scheme == "webhook":
        from edgeface.sinks.webhook import WebhookSink

        return WebhookSink(uri)
    from edgeface.sinks.mqtt import MqttSink

    return MqttSink(uri)
