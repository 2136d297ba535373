"""A server that one stream is pushed to: RTSP (RFC 2326) over TCP, RTP of H.264 (RFC 6184), decoded frame by frame."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
from typing import Any, BinaryIO

import av
import numpy as np

_START = b"\0\0\0\1"
_STAP_A, _FU_A = 24, 28


class RtspReceiver:
    """Takes one connection after the other; hangs up, and listens no more, after ``most`` frames or on ``close``."""

    def __init__(self, port: int, most: int = 10_000, password: str = "") -> None:
        self.port, self.most, self._password = port, most, password
        self.frames: list[np.ndarray] = []
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while len(self.frames) < self.most:
            try:
                self._client, _ = self._listener.accept()
            except OSError:
                return
            try:  # leaving the stream writes what is buffered, too, to a peer that may be gone
                with self._client, self._client.makefile("rwb") as stream:
                    self._converse(stream)
            except (OSError, struct.error, ValueError):
                continue
        self._listener.close()

    def _converse(self, stream: BinaryIO) -> None:
        pictures = _Decoder()
        while len(self.frames) < self.most:
            first = stream.read(1)
            if not first:
                return
            if first == b"$":
                channel, length = struct.unpack(">BH", stream.read(3))
                packet = stream.read(length)
                self.frames += pictures.take(packet) if channel == 0 else []
            else:
                self._answer(first, stream)

    def _answer(self, first: bytes, stream: BinaryIO) -> None:
        lines = [(first + stream.readline()).decode().strip()]
        while line := stream.readline().decode().strip():
            lines.append(line)
        headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines[1:])}
        stream.read(int(headers.get("content-length", 0)))
        if self._password and not self._admits(lines[0].split()[0], headers.get("authorization", "")):
            challenge = 'WWW-Authenticate: Digest realm="room", nonce="n0nce"'
            stream.write(f"RTSP/1.0 401 Unauthorized\r\nCSeq: {headers['cseq']}\r\n{challenge}\r\n\r\n".encode())
            stream.flush()
            return
        self.requests.append(lines[0])
        more = (
            f"Transport: {headers['transport']}\r\n"
            if "transport" in headers
            else "Public: ANNOUNCE, SETUP, RECORD\r\n"
        )
        stream.write(f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\nSession: 1\r\n{more}\r\n".encode())
        stream.flush()

    def _admits(self, method: str, authorization: str) -> bool:
        """Digest as in RFC 2617 without qop, of the user `me`."""
        given = dict(re.findall(r'(\w+)="([^"]*)"', authorization))
        first = hashlib.md5(f"me:room:{self._password}".encode()).hexdigest()
        second = hashlib.md5(f"{method}:{given.get('uri')}".encode()).hexdigest()
        return given.get("response") == hashlib.md5(f"{first}:n0nce:{second}".encode()).hexdigest()

    def close(self) -> None:
        self.most = 0
        for one in (self._listener, self._client):
            if one is not None:
                with contextlib.suppress(OSError):  # it is closed already
                    one.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


class _Decoder:
    """RTP packets to images."""

    def __init__(self) -> None:
        self._codec: Any = av.CodecContext.create("h264", "r")
        self._unit = self._whole = b""

    def take(self, packet: bytes) -> list[np.ndarray]:
        payload, marked = packet[12:], packet[1] & 0x80
        kind = payload[0] & 0x1F
        if kind == _FU_A:
            if payload[1] & 0x80:
                self._unit = bytes([payload[0] & 0xE0 | payload[1] & 0x1F])
            self._unit += payload[2:]
            self._whole += _START + self._unit if payload[1] & 0x40 else b""
        elif kind == _STAP_A:
            at = 1
            while at < len(payload):
                (length,) = struct.unpack_from(">H", payload, at)
                self._whole += _START + payload[at + 2 : at + 2 + length]
                at += 2 + length
        else:
            self._whole += _START + payload
        if not marked:
            return []
        data, self._whole = self._whole, b""
        return [frame.to_ndarray(format="rgb24") for frame in self._codec.decode(av.Packet(data))]
