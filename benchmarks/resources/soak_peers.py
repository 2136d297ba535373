"""What the soak's sinks talk to, in a process of its own so that its memory is not the soak's.

    python -m benchmarks.resources.soak_peers

Prints one line of JSON with its ports: a server that takes webhooks, one that is pushed RTSP, one that speaks enough
MQTT to acknowledge. Everything is read and thrown away. A line with a URL on its input is followed to its end.
The end of the input ends the process.
"""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from edgeface.errors import ConfigError
from edgeface.sinks.base import Sink
from edgeface.sinks.privacy import PrivacyOptions, open_guarded

SINKS = ("jsonl", "csv", "mp4", "mkv", "images", "http", "webhook", "rtsp", "mqtt")
_ROOT = Path(__file__).resolve().parents[2]


class Peers:
    """The other end of it: starts the process, names the sinks' addresses, lets it watch pages."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.resources.soak_peers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=_ROOT,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders = self._process.stdin
        self.ports: dict[str, int] = json.loads(self._process.stdout.readline())

    def watch(self, url: str) -> None:
        """Follow a page for as long as it goes on, and again when it ends."""
        self._orders.write(url + "\n")

    def close(self) -> None:
        """End the process."""
        self._orders.close()
        self._process.wait(10)


def opened(kinds: list[str], folder: Path, peers: Peers) -> list[Sink]:
    """A sink of each kind, the web page's watched by two clients. Raises ``ConfigError`` for a kind that is unknown."""
    host = "127.0.0.1"
    uris = {
        **{name: f"{folder}/soak.{name}" for name in ("jsonl", "csv", "mp4", "mkv")},
        "images": f"{folder}/images/",
        "http": "http://127.0.0.1:0",
        "webhook": f"webhook:http://{host}:{peers.ports['webhook']}/hook#every=0",
        "rtsp": f"rtsp://{host}:{peers.ports['rtsp']}/soak",
        "mqtt": f"mqtt://{host}:{peers.ports['mqtt']}/soak#every=0",
    }
    unknown = [kind for kind in kinds if kind not in uris]
    if unknown:
        raise ConfigError(f"no sink of the kind `{unknown[0]}`, expected some of {', '.join(uris)}")
    sinks = [open_guarded(uris[kind], PrivacyOptions(blur=kind == "mkv")) for kind in kinds]
    for kind, sink in zip(kinds, sinks):
        if kind == "http":
            served = str(vars(getattr(sink, "inner", sink))["url"])
            peers.watch(f"{served}/stream.mjpg")
            peers.watch(f"{served}/events")
    return sinks


class _Webhook(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline():
            length = 0
            while line := self.rfile.readline().strip():
                key, _, value = line.partition(b":")
                length = int(value) if key.lower() == b"content-length" else length
            self.rfile.read(length)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class _Rtsp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while first := self.rfile.read(1):
            if first == b"$":
                self.rfile.read(int.from_bytes(self.rfile.read(3)[1:], "big"))
                continue
            self.rfile.readline()
            headers = {}
            while line := self.rfile.readline().decode().strip():
                key, _, value = line.partition(": ")
                headers[key.lower()] = value
            self.rfile.read(int(headers.get("content-length", 0)))
            transport = f"Transport: {headers['transport']}\r\n" if "transport" in headers else ""
            self.wfile.write(
                f"RTSP/1.0 200 OK\r\nCSeq: {headers.get('cseq', 0)}\r\nSession: 1\r\n{transport}\r\n".encode()
            )


class _Mqtt(socketserver.StreamRequestHandler):
    """MQTT 3.1.1 (OASIS), as far as one that publishes needs it: CONNECT, PUBLISH of QoS 1, PINGREQ."""

    def handle(self) -> None:
        while head := self.rfile.read(1):
            length, shift = 0, 0
            while True:
                byte = self.rfile.read(1)[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
            body = self.rfile.read(length)
            kind = head[0] >> 4
            if kind == 1:
                self.wfile.write(b"\x20\x02\0\0")
            elif kind == 3 and head[0] & 0x06:
                topic = int.from_bytes(body[:2], "big")
                self.wfile.write(b"\x40\x02" + body[2 + topic : 4 + topic])
            elif kind == 12:
                self.wfile.write(b"\xd0\0")
            elif kind == 14:
                return


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sink that hangs up is what faults are made of."""


def _follow(url: str) -> None:
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as page:
                while page.read(1 << 16):
                    pass
        except (OSError, ValueError):
            time.sleep(0.5)


def main() -> None:
    ports = {}
    for name, handler in (("webhook", _Webhook), ("rtsp", _Rtsp), ("mqtt", _Mqtt)):
        server = _Server(("127.0.0.1", 0), handler)
        ports[name] = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps(ports), flush=True)
    for line in sys.stdin:
        threading.Thread(target=_follow, args=(line.strip(),), daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    main()
