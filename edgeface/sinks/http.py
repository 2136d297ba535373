"""A page that shows the stream: ``http://:8090`` serves ``/`` , ``/stream.mjpg`` and ``/events``."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import deque
from functools import lru_cache, partial
from importlib.resources import files
from urllib.parse import parse_qs

import numpy as np

from edgeface.common.addresses import secret_of
from edgeface.common.web_server import Page, Request, WebServer
from edgeface.errors import ConfigError, SinkError
from edgeface.inference.overlay import draw_faces
from edgeface.inference.result import FrameResult
from edgeface.sinks.base import Message, MessageSink, SinkCounters
from edgeface.sinks.reconnecting import log
from edgeface.sinks.sink_uri import SinkUri
from edgeface.types import Image

_PORT = 8090
_BOUNDARY = "edgeface-frame"
_EVENTS_KEPT = 64
_SOURCES = 16
"""Sources whose newest image is kept."""
TOKEN = "EDGEFACE_HTTP_TOKEN"
"""Environment variable with a token that readers need."""
_HEARTBEAT_S = 5.0
"""An idle stream of events says so this often, so that a client that is gone is noticed."""


class HttpSink(MessageSink):
    """Serves the annotated stream (MJPEG), results as server-sent events, and a page with both.

    An image is encoded once, and only while someone looks; every viewer gets the newest one, a slow viewer fewer.
    Events are the JSON of ``FrameResult``, or whatever ``send`` is given; a reader that falls behind loses the oldest.
    With several sources ``/stream.mjpg?source=NAME`` shows one of them, without a name the first.
    Options: ``quality`` of the JPEGs (80), ``width`` in pixels that larger images are scaled down to (0: never).
    Without a host in the address only this machine is served. ``$EDGEFACE_HTTP_TOKEN`` is a token that every reader
    needs; there is no encryption, so put a proxy in front where others may listen.
    """

    live = True
    shows_images = True

    def __init__(self, uri: str) -> None:
        given = SinkUri(uri, {"quality": 80, "width": 0})
        url = given.url()
        if url.scheme != "http" or url.path not in ("", "/") or url.query or url.username:
            raise SinkError(
                f"`{given.name}` is no address to serve at, expected http://:{_PORT} or http://HOST:PORT; "
                "to send results to a server: webhook:https://HOST/PATH"
            )
        self._quality = int(given.number("quality", 1, 100))
        self._width = int(given.number("width", 0, 16_384))
        self._changed = threading.Condition()
        self._newest: dict[str, tuple[int, FrameResult]] = {}
        self._jpegs: dict[str, tuple[int, bytes]] = {}
        self._encoding = threading.Lock()
        self._events: deque[tuple[int, bytes]] = deque(maxlen=_EVENTS_KEPT)
        self._sent = 0
        self._written = self._lost = 0
        self._closed = False
        pages: dict[str, Page] = {"/": _page, "/stream.mjpg": self._stream, "/events": self._follow}
        try:
            token = secret_of(TOKEN)
        except ConfigError as error:
            raise SinkError(str(error)) from None
        self._server = WebServer(url.hostname or "", _PORT if url.port is None else url.port, pages, token)
        self.name = self.url = self._server.url
        log.info("serving %s", self.url, extra={"sink": self.name, "state": "live"})

    @property
    def counters(self) -> SinkCounters:
        """``dropped`` counts events that some reader was too slow for."""
        return SinkCounters(written=self._written, dropped=self._lost)

    def append(self, result: FrameResult) -> None:
        with self._changed:
            self._newest[result.frame.source] = (self._sent + 1, result)
            if len(self._newest) > _SOURCES:  # of a folder, every image is a source
                oldest = min(self._newest, key=lambda source: self._newest[source][0])
                del self._newest[oldest]
                self._jpegs.pop(oldest, None)
        self.send(result.to_dict())

    def send(self, message: Message) -> None:
        """Hand one event to all who read; images are only what ``append`` gets."""
        if self._closed:
            raise SinkError(f"`{self.name}` is closed, open it again")
        data = json.dumps(message, ensure_ascii=False).encode()
        with self._changed:
            self._sent += 1
            self._events.append((self._sent, data))
            self._written += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Hang up; closing twice is harmless."""
        with self._changed:
            already, self._closed = self._closed, True
            self._changed.notify_all()
        if not already:
            self._server.close()

    def _stream(self, request: Request) -> None:
        """Parts of JPEG, each the newest there is; without a new one the last again, to notice who is gone."""
        query = parse_qs(request.path.partition("?")[2])
        source = query.get("source", [None])[0]
        if not request.open_ended(f"multipart/x-mixed-replace; boundary={_BOUNDARY}"):
            return
        seen = 0
        while True:
            with self._changed:
                self._changed.wait_for(partial(self._has_picture, source, seen), _HEARTBEAT_S)
                if self._closed:
                    return
                newest = self._of(source)
            if newest is not None:
                jpeg = self._encoded(*newest)
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                request.wfile.write(head.encode() + jpeg + b"\r\n")
                seen = newest[0]

    def _of(self, source: str | None) -> tuple[int, FrameResult] | None:
        """The newest result of a source, by default of the first one that there was."""
        return next(iter(self._newest.values()), None) if source is None else self._newest.get(source)

    def _has_picture(self, source: str | None, seen: int) -> bool:
        newest = self._of(source)
        return self._closed or (newest is not None and newest[0] > seen)

    def _has_event(self, seen: int) -> bool:
        return self._closed or self._sent > seen

    def _encoded(self, number: int, result: FrameResult) -> bytes:
        """The image with its faces drawn as JPEG; anyone who comes first encodes it for all."""
        source = result.frame.source
        with self._encoding:
            if self._jpegs.get(source, (0, b""))[0] != number:
                drawn = draw_faces(result.frame.pixels, result.faces)
                jpeg = jpeg_of(drawn, self._quality, self._width)
                if source not in self._newest:
                    return jpeg
                self._jpegs[source] = (number, jpeg)
            return self._jpegs[source][1]

    def _follow(self, request: Request) -> None:
        """Server-sent events from now on, in order."""
        if not request.open_ended("text/event-stream; charset=utf-8"):
            return
        request.wfile.write(b"retry: 1000\n\n")
        seen = self._sent
        while True:
            with self._changed:
                self._changed.wait_for(partial(self._has_event, seen), _HEARTBEAT_S)
                if self._closed:
                    return
                events = [event for event in self._events if event[0] > seen]
                if events:
                    self._lost += events[0][0] - seen - 1
                    seen = events[-1][0]
            lines = b"".join(b"id: %d\ndata: %s\n\n" % event for event in events)
            request.wfile.write(lines or b": still here\n\n")


def _page(request: Request) -> None:
    request.answer(200, "text/html; charset=utf-8", *_html())


@lru_cache(maxsize=1)
def _html() -> tuple[bytes, str]:
    """The page, and a policy that lets nothing run or load but what is in it and comes from this server."""
    page = (files("edgeface.assets") / "live.html").read_bytes()
    parts = (re.search(rb"<%b>(.*?)</%b>" % (tag, tag), page, re.DOTALL) for tag in (b"script", b"style"))
    script, style = (base64.b64encode(hashlib.sha256(part[1] if part else b"").digest()).decode() for part in parts)
    own = f"script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src 'self'; connect-src 'self'"
    return page, f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def jpeg_of(image: Image, quality: int = 80, width: int = 0) -> bytes:
    """An image (uint8 ``[H, W, 3]`` RGB) as JPEG, scaled down to ``width`` pixels where it is wider (0: as it is)."""
    import cv2

    if 0 < width < image.shape[1]:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise SinkError(f"cannot encode an image of {image.shape[1]}×{image.shape[0]} as JPEG")
    return bytes(data)
