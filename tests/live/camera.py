"""A camera on loopback that misbehaves on request: MJPEG or MPEG-TS over HTTP, or H.264 over RTSP.

with FaultCamera("rtsp") as camera:
    source = open_source(camera.uri)
    camera.stall()
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np

from edgeface.types import Image
from tests.live.rtp import RtpPacker, annex_b_units

KINDS = ("mjpeg", "ts", "rtsp")
_POLL_S = 0.01


@dataclass(frozen=True)
class View:
    """What the camera sends: ``size`` (width, height) in pixels, ``codec`` of MPEG-TS, ``ahead_s`` of its clock."""

    size: tuple[int, int] = (160, 128)
    fps: float = 25.0
    codec: str = "libx264"
    ahead_s: float = 0.0


def shades(size: tuple[int, int], index: int) -> Image:
    """A grey image that gets lighter with every frame, and starts again after 200."""
    return np.full((size[1], size[0], 3), 20 + index % 200, np.uint8)


class FaultCamera:
    """Serves anyone who connects, each from its own thread; frames are numbered by the camera, not by the client."""

    def __init__(
        self, kind: str, view: View | None = None, paint: Callable[[tuple[int, int], int], Image] = shades
    ) -> None:
        assert kind in KINDS
        self.kind, self.view, self.paint = kind, view or View(), paint
        self.sent = 0
        self.stalled = threading.Event()
        self._garbage_until_s = 0.0
        self._started_s = time.monotonic()
        self._closed = threading.Event()
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._port = 0
        self.up()

    @property
    def uri(self) -> str:
        return f"{'rtsp' if self.kind == 'rtsp' else 'http'}://127.0.0.1:{self._port}/{self.kind}"

    def up(self) -> None:
        """Take connections (again, at the same port)."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen()
        self._port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="camera", daemon=True).start()

    def down(self) -> None:
        """Be gone: no connection stands, none is taken."""
        listener, self._listener = self._listener, None
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close every connection; new ones are taken."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def stall(self, on: bool = True) -> None:
        """Keep connections, take new ones, and send nothing."""
        (self.stalled.set if on else self.stalled.clear)()

    def garbage(self, seconds: float = 0.4) -> None:
        """Send noise for a while."""
        self._garbage_until_s = time.monotonic() + seconds

    def show(self, **changes: Any) -> None:
        """Go on with another ``size``, ``codec``, ``fps`` or clock (``ahead_s``)."""
        self.view = replace(self.view, **changes)

    def close(self) -> None:
        """Be gone for good."""
        self._closed.set()
        self.down()

    def __enter__(self) -> FaultCamera:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._clients.add(client)
            threading.Thread(target=self._serve, args=(client,), name="camera client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        serve = {"mjpeg": self._serve_mjpeg, "ts": self._serve_ts, "rtsp": self._serve_rtsp}[self.kind]
        try:
            serve(client)
        except (OSError, av.FFmpegError):
            pass  # anyone who watched has gone, or we hung up
        finally:
            with self._lock:
                self._clients.discard(client)
            client.close()

    def _frames(self) -> Iterator[tuple[View, int, float, Image]]:
        """What to send next, when it is due: the view, the frame's number, its time in seconds, its pixels."""
        last = -1
        while not self._closed.is_set():
            view = self.view
            index = int((time.monotonic() - self._started_s) * view.fps)
            if index <= last or self.stalled.is_set():
                time.sleep(_POLL_S if self.stalled.is_set() else 1e-3)
                continue
            last = index
            self.sent += 1
            yield view, index, index / view.fps + view.ahead_s, self.paint(view.size, index)

    def _mangled(self, data: bytes) -> bytes:
        """``data``, or noise of its length while garbage is ordered."""
        return random.Random(len(data)).randbytes(len(data)) if time.monotonic() < self._garbage_until_s else data

    def _serve_mjpeg(self, client: socket.socket) -> None:
        import cv2

        _read_head(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        for _, _, _, pixels in self._frames():
            jpeg = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            client.sendall(self._mangled(head + jpeg + b"\r\n"))

    def _serve_ts(self, client: socket.socket) -> None:
        _read_head(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
        frames = self._frames()
        first = next(frames, None)
        while first is not None:  # a muxer for each view: sizes, codecs and clocks change between them
            view = first[0]
            with av.open(_Writer(client, self._mangled), "w", format="mpegts", options=_TS_OPTIONS) as container:
                stream = container.add_stream(view.codec, rate=round(view.fps), options=_options(view))
                stream.width, stream.height, stream.pix_fmt = *view.size, "yuv420p"
                start_s = first[2]
                for shot in itertools.chain([first], frames):
                    if shot[0] is not view:
                        first = shot
                        break
                    container.mux(stream.encode(_picture(shot[3], round((shot[2] - start_s) * view.fps))))
                else:
                    first = None

    def _serve_rtsp(self, client: socket.socket) -> None:
        answers = client.makefile("rb")
        while method := _answer_rtsp(client, answers, self.uri):
            if method == "PLAY":
                break
        threading.Thread(target=_discard, args=(answers,), daemon=True).start()
        packer, encoder, encoded = RtpPacker(), None, None
        for view, index, time_s, pixels in self._frames():
            if encoder is None or encoded is not view:
                encoder, encoded = _encoder(view), view
            for packet in encoder.encode(_picture(pixels, index)):
                for data in packer.pack(annex_b_units(bytes(packet)), round(time_s * 90_000)):
                    client.sendall(self._mangled(b"$\x00" + len(data).to_bytes(2, "big") + data))


_TS_OPTIONS = {"flush_packets": "1", "pat_period": "0.2"}


class _Writer:
    """A connection as PyAV's muxer wants it."""

    def __init__(self, client: socket.socket, mangle: Callable[[bytes], bytes]) -> None:
        self._client, self._mangle = client, mangle

    def write(self, data: bytes) -> int:
        self._client.sendall(self._mangle(bytes(data)))
        return len(data)


def _options(view: View) -> dict[str, str]:
    if view.codec != "libx264":
        return {}
    return {"preset": "ultrafast", "tune": "zerolatency", "g": str(max(1, round(view.fps / 2))), "threads": "1"}


def _encoder(view: View) -> Any:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *view.size, "yuv420p"
    encoder.framerate, encoder.options = Fraction(round(view.fps)), _options(view)
    return encoder


def _picture(pixels: Image, pts: int) -> Any:
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts = pts
    return frame


def _read_head(client: socket.socket) -> None:
    """Read a request up to its empty line."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = client.recv(4096)
        if not part:
            raise ConnectionError
        head += part


def _answer_rtsp(client: socket.socket, lines: Any, uri: str) -> str | None:
    """Answer one request; its method, or ``None`` once the client has gone."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        line = lines.readline()
        if not line:
            return None
        request += line
    method = request.split(b" ", 1)[0].decode()
    number = re.search(rb"CSeq: *(\d+)", request, re.IGNORECASE)
    head, body = [f"CSeq: {number[1].decode() if number else 0}"], ""
    if method == "DESCRIBE":
        body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
        body += "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track\r\n"
        head += [f"Content-Base: {uri}/", "Content-Type: application/sdp", f"Content-Length: {len(body)}"]
    elif method == "SETUP":
        head += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
    else:
        head += ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN", "Session: 1"]
    client.sendall(("RTSP/1.0 200 OK\r\n" + "\r\n".join(head) + "\r\n\r\n" + body).encode())
    return method


def _discard(lines: Any) -> None:
    """Read what a client says while it watches, so that its reports do not pile up."""
    with contextlib.suppress(OSError, ValueError):
        while lines.read(64):
            pass
