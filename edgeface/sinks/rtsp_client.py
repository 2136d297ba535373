"""H.264 pushed to an RTSP server over one TCP connection: RTSP (RFC 2326), RTP of H.264 (RFC 6184), digest (RFC 7616).

FFmpeg's own RTSP muxer connects with the interpreter locked, so that a server which does not answer would stop every
thread; here each wait is a socket's and has a limit. All failures are ``OSError``.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from urllib.parse import SplitResult, unquote

from edgeface import __version__

TICKS_PER_S = 90_000
"""RTP's clock for video."""
_PORT = 554
_PAYLOAD_TYPE = 96
_LARGEST = 1400
_FU_A = 28
_SPS, _PPS = 7, 8
_LONGEST_HEAD = 65_536


class Login:
    """User and password for one server, over all connections to it.

    Digest is taken where it is offered, and once it was, the password is never sent in clear as ``Basic`` does: anyone
    on the way could ask for that.
    """

    def __init__(self, url: SplitResult) -> None:
        self.user, self.password = unquote(url.username or ""), unquote(url.password or "")
        self._digest_only = False

    def chosen(self, challenges: Sequence[str]) -> str:
        """The challenge to answer. Raises ``OSError`` where there is none that may be."""
        digests = [one for one in challenges if one.lower().startswith("digest")]
        known = [one for one in digests if not re.search(r'algorithm="?(?!MD5\b(?!-))', one, re.IGNORECASE)]
        self._digest_only |= bool(digests)
        basics = [one for one in challenges if one.lower().startswith("basic")]
        if known:
            return known[0]
        if self._digest_only and basics:
            raise OSError("the server asks for the password in clear (Basic), where it was Digest before")
        if basics:
            return basics[0]
        raise OSError("the server asks for a login that is neither Digest with MD5 nor Basic")


class RtspPush:
    """A connection that a stream is recorded over; ``units`` are its first image's, with the parameter sets."""

    def __init__(self, url: SplitResult, units: Sequence[bytes], timeout_s: float, login: Login | None = None) -> None:
        host = url.hostname or ""
        port = url.port or _PORT
        self._login = login or Login(url)
        self._timeout_s = timeout_s
        self._uri = url._replace(netloc=url.netloc.rpartition("@")[2], fragment="").geturl()
        self._number, self._sequence = 0, secrets.randbelow(1 << 16)
        self._sender = secrets.randbits(32)
        self._session = self._challenge = ""
        self._rest = b""
        self._socket = socket.create_connection((host, port), timeout_s)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ask("ANNOUNCE", self._uri, {"Content-Type": "application/sdp"}, _description(units))
            track = f"{self._uri.rstrip('/')}/trackID=0"
            answer = self._ask("SETUP", track, {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record"})
            self._session = answer.get("session", "").partition(";")[0]
            self._ask("RECORD", self._uri, {"Range": "npt=0.000-"})
        except BaseException:
            self._socket.close()
            raise

    def send(self, units: Sequence[bytes], ticks: int) -> None:
        """Send one image's NAL units, taken at ``ticks`` of ``TICKS_PER_S``."""
        self._discard_reports()
        payloads = [payload for unit in units for payload in _payloads(unit)]
        packets = bytearray()
        for place, payload in enumerate(payloads):
            mark = 0x80 if place == len(payloads) - 1 else 0
            self._sequence = (self._sequence + 1) & 0xFFFF
            head = struct.pack(">BBHII", 0x80, mark | _PAYLOAD_TYPE, self._sequence, ticks & 0xFFFFFFFF, self._sender)
            packets += struct.pack(">cBH", b"$", 0, len(head) + len(payload)) + head + payload
        self._socket.sendall(packets)

    def close(self) -> None:
        """Say goodbye, if the server still listens."""
        try:
            self._socket.sendall(self._request("TEARDOWN", self._uri, {}, b""))
        except OSError:  # it is gone already
            pass
        finally:
            self._socket.close()

    def _discard_reports(self) -> None:
        """What the server tells of its reception is not needed, but must not pile up; notice that it hung up."""
        limit_s = self._socket.gettimeout()
        self._socket.setblocking(False)
        try:
            while True:
                if not self._socket.recv(1 << 16):
                    raise ConnectionResetError("the server hung up")
        except BlockingIOError:
            return
        finally:
            self._socket.settimeout(limit_s)

    def _ask(self, method: str, uri: str, headers: dict[str, str], body: bytes = b"") -> dict[str, str]:
        """The headers of the answer. Raises ``OSError`` for any but a good one."""
        for _ in range(2):
            self._socket.sendall(self._request(method, uri, headers, body))
            status, answer = self._answer()
            if status != 401 or self._challenge or not self._login.user:
                break
            self._challenge = self._login.chosen(answer.get("www-authenticate", "").split("\n"))
        if status != 200:
            raise OSError(f"the server answers {method} with {status}")
        return answer

    def _request(self, method: str, uri: str, headers: dict[str, str], body: bytes) -> bytes:
        self._number += 1
        lines = {"CSeq": str(self._number), "User-Agent": f"edgeface/{__version__}", **headers}
        lines |= {"Session": self._session} if self._session else {}
        lines |= {"Authorization": self._authorization(method, uri)} if self._challenge else {}
        lines |= {"Content-Length": str(len(body))} if body else {}
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        return f"{method} {uri} RTSP/1.0\r\n{head}\r\n".encode() + body

    def _answer(self) -> tuple[int, dict[str, str]]:
        """Status and headers, a header that comes twice with its values on lines of their own."""
        ends_s = time.monotonic() + self._timeout_s
        while b"\r\n\r\n" not in self._rest:
            self._receive(ends_s)
            if len(self._rest) > _LONGEST_HEAD:
                raise OSError("the server's answer has no end")
        head, self._rest = self._rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("utf-8", "replace").split("\r\n")
        found = re.match(r"RTSP/\d\.\d (\d{3})", first)
        if found is None:
            raise OSError("the server does not speak RTSP")
        headers: dict[str, str] = {}
        for key, _, value in (line.partition(":") for line in lines):
            key = key.strip().lower()
            headers[key] = f"{headers[key]}\n{value.strip()}" if key in headers else value.strip()
        length = headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > _LONGEST_HEAD:
            raise OSError(f"the server's answer has a length that is not from 0 to {_LONGEST_HEAD} bytes")
        while len(self._rest) < int(length):
            self._receive(ends_s)
        self._rest = self._rest[int(length) :]
        return int(found[1]), headers

    def _receive(self, ends_s: float) -> None:
        """Wait for more of an answer, which as a whole has to come in time."""
        if time.monotonic() > ends_s:
            raise TimeoutError(f"the server's answer is not whole after {self._timeout_s:g} s")
        data = self._socket.recv(4096)
        if not data:
            raise ConnectionResetError("the server hung up")
        self._rest += data

    def _authorization(self, method: str, uri: str) -> str:
        if self._challenge.lower().startswith("basic"):
            return "Basic " + base64.b64encode(f"{self._login.user}:{self._login.password}".encode()).decode()
        given = dict(re.findall(r'(\w+)="([^"]*)"', self._challenge))
        realm, nonce = given.get("realm", ""), given.get("nonce", "")
        response = _md5(_md5(self._login.user, realm, self._login.password), nonce, _md5(method, uri))
        fields = {"username": self._login.user, "realm": realm, "nonce": nonce, "uri": uri, "response": response}
        return "Digest " + ", ".join(f'{key}="{value}"' for key, value in fields.items())


def _md5(*parts: str) -> str:
    return hashlib.md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()


def nal_units(data: bytes) -> list[bytes]:
    """The units between the start codes of an encoder's packet."""
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.strip(b"\0")]


def _payloads(unit: bytes) -> Iterator[bytes]:
    """A unit as RTP payloads: whole, or in fragments."""
    if len(unit) <= _LARGEST:
        yield unit
        return
    kind, rest = unit[0], unit[1:]
    for start in range(0, len(rest), _LARGEST):
        flags = (0x80 if start == 0 else 0) | (0x40 if start + _LARGEST >= len(rest) else 0)
        yield bytes([kind & 0xE0 | _FU_A, flags | kind & 0x1F]) + rest[start : start + _LARGEST]


def _description(units: Sequence[bytes]) -> bytes:
    """SDP (RFC 8866) of one video."""
    sets = [base64.b64encode(unit).decode() for kind in (_SPS, _PPS) for unit in units if unit[0] & 0x1F == kind]
    lines = (
        *("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=edgeface", "c=IN IP4 0.0.0.0", "t=0 0"),
        f"m=video 0 RTP/AVP {_PAYLOAD_TYPE}",
        f"a=rtpmap:{_PAYLOAD_TYPE} H264/{TICKS_PER_S}",
        f"a=fmtp:{_PAYLOAD_TYPE} packetization-mode=1; sprop-parameter-sets={','.join(sets)}",
        "a=control:trackID=0",
    )
    return "".join(f"{line}\r\n" for line in lines).encode()
