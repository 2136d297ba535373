"""A small HTTP server in threads, bounded in clients and patience; pages and metrics are served by it.

A connection is counted when it is accepted, and has ``_PATIENCE_S`` for the whole head of a request: when all are
taken, a newcomer displaces the one that has been silent longest. Of those that go on (streams, events) there are
``_CLIENTS``; an address that holds more of them than a newcomer's loses its oldest to it.
"""

from __future__ import annotations

import contextlib
import hmac
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any
from urllib.parse import parse_qs

from edgeface.errors import SinkError

_CLIENTS = 16
_CONNECTIONS = 64
"""Threads and descriptors that clients may take, those that are still asking among them."""
_PATIENCE_S = 5.0
"""A client that takes nothing for so long is hung up on."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_COOKIE = "edgeface"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Sent with every answer: no other site may frame, embed or read what a camera sees."""
_STRICT = "default-src 'none'; frame-ancestors 'none'"


class Request(BaseHTTPRequestHandler):
    """One GET request: what a page's function gets. ``open_ended`` starts an answer that goes on."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "edgeface"
    sys_version = ""
    timeout = _PATIENCE_S

    def do_GET(self) -> None:  # the name that the base class calls
        self.server.clients.heard(self.connection)
        try:
            self._serve()
        except OSError:  # the client went away, or took nothing for too long
            self.close_connection = True
        finally:
            self.server.clients.asking(self.connection)

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        page = self.server.pages.get(path)
        if not self._for_us():
            self.answer(403, "text/plain", b"this server answers on this machine only\n")
        elif self.headers.get("Sec-Fetch-Site") == "cross-site" and self.headers.get("Sec-Fetch-Mode") != "navigate":
            self.answer(403, "text/plain", b"other sites may not read this server\n")
        elif not self._admitted(query):
            self.answer(401, "text/plain", b"a token is needed: Authorization: Bearer TOKEN, or once /?token=TOKEN\n")
        elif page is None:
            self.answer(404, "text/plain", f"no such page, there is: {' '.join(self.server.pages)}\n".encode())
        elif self.server.token and "token" in parse_qs(query):
            self._remember()
        else:
            page(self)

    def _admitted(self, query: str) -> bool:
        """Whether the client has the token, if there is one: in a header, a cookie or the address."""
        token = self.server.token
        cookies = dict(part.strip().partition("=")[::2] for part in self.headers.get("Cookie", "").split(";"))
        kind, _, bearer = self.headers.get("Authorization", "").partition(" ")
        given = [
            bearer if kind.lower() == "bearer" else "",
            cookies.get(_COOKIE, ""),
            *parse_qs(query).get("token", []),
        ]
        return token is None or any(hmac.compare_digest(one.encode(), token.encode()) for one in given)

    def _remember(self) -> None:
        """Keep the token in a cookie that no script sees, and out of the browser's history."""
        self.send_response(303)
        self._head("text/plain", _STRICT)
        self.send_header("Set-Cookie", f"{_COOKIE}={self.server.token}; HttpOnly; SameSite=Strict; Path=/")
        self.send_header("Location", self.path.partition("?")[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _for_us(self) -> bool:
        """Whether the browser meant this machine: a foreign page may name us by a host name of its own."""
        if self.server.address not in _LOOPBACK:
            return True
        host = self.headers.get("Host", "").rpartition("]")[0].strip("[") or self.headers.get("Host", "").split(":")[0]
        return host in _LOOPBACK

    def answer(self, status: int, kind: str, body: bytes, policy: str = _STRICT) -> None:
        """A whole answer; ``policy`` is its Content-Security-Policy."""
        self.send_response(status)
        self._head(kind, policy)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def open_ended(self, kind: str) -> bool:
        """The head of an answer that ends when the connection does; ``False``, and 503, where no place is free."""
        self.close_connection = True
        if not self.server.clients.stay(self.connection):
            self.answer(503, "text/plain", f"all {_CLIENTS} places are taken\n".encode())
            return False
        self.send_response(200)
        self._head(kind, _STRICT)
        self.send_header("Connection", "close")
        self.end_headers()
        return True

    def _head(self, kind: str, policy: str) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", policy)
        for name, value in _HEADERS.items():
            self.send_header(name, value)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news."""


Page = Callable[[Request], None]


class _Clients:
    """The connections that are open: by whom, and since when each is asking (``None``: it has asked)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking_s: dict[socket.socket, float | None] = {}
        self._addresses: dict[socket.socket, str] = {}
        self._staying: list[socket.socket] = []  # oldest first

    def admit(self, client: socket.socket, address: str) -> bool:
        """Take a connection in, if need be in the place of the one that has been asking longest."""
        with self._lock:
            if len(self._asking_s) >= _CONNECTIONS:
                silent = [(since, one) for one, since in self._asking_s.items() if since is not None]
                if not silent:
                    return False
                self._drop(min(silent, key=lambda pair: pair[0])[1])
            self._asking_s[client], self._addresses[client] = time.monotonic(), address
            return True

    def heard(self, client: socket.socket) -> None:
        """The head of a request is whole."""
        with self._lock:
            if client in self._asking_s:
                self._asking_s[client] = None

    def asking(self, client: socket.socket) -> None:
        """A request is answered, another may come."""
        with self._lock:
            if client in self._asking_s:
                self._asking_s[client] = time.monotonic()

    def stay(self, client: socket.socket) -> bool:
        """Take a place for an answer that goes on."""
        with self._lock:
            if client not in self._addresses:
                return False
            if len(self._staying) >= _CLIENTS:
                held = Counter(self._addresses[one] for one in self._staying)
                address, most = held.most_common(1)[0]
                if most <= held[self._addresses[client]] + 1:
                    return False
                self._drop(next(one for one in self._staying if self._addresses[one] == address))
            self._staying.append(client)
            return True

    def forget(self, client: socket.socket) -> None:
        """A connection is closed."""
        with self._lock:
            self._remove(client)

    def hang_up_on_silent(self) -> None:
        """End the connections that have not asked in time."""
        with self._lock:
            ends_s = time.monotonic() - _PATIENCE_S
            for client in [one for one, since in self._asking_s.items() if since is not None and since < ends_s]:
                self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._remove(client)
        with contextlib.suppress(OSError):  # it has gone by itself
            client.shutdown(socket.SHUT_RDWR)

    def _remove(self, client: socket.socket) -> None:
        self._asking_s.pop(client, None)
        self._addresses.pop(client, None)
        if client in self._staying:
            self._staying.remove(client)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, host: str, port: int, pages: dict[str, Page], token: str | None) -> None:
        self.address, self.pages, self.token = host, pages, token
        self.clients = _Clients()
        super().__init__((host, port), Request)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more connection."""
        return self.clients.admit(request, str(client_address[0]))

    def shutdown_request(self, request: Any) -> None:
        self.clients.forget(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """What ``serve_forever`` does several times a second."""
        self.clients.hang_up_on_silent()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is no news either."""


class WebServer:
    """Serves ``pages`` (path → function) at ``host:port`` until it is closed; an empty host is this machine only.

    Port 0 takes a free one; ``url`` says which. With a ``token`` only who has it is answered. Raises ``SinkError``
    where the port is taken or the host is not ours.
    """

    def __init__(self, host: str, port: int, pages: dict[str, Page], token: str | None = None) -> None:
        host = host or _LOOPBACK[0]
        try:
            self._server: BaseServer = _Server(host, port, pages, token)
        except OSError as error:
            raise SinkError(f"cannot serve at {host}:{port}: {error.strerror or error}, name another port") from error
        self.port = int(self._server.server_address[1])
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name=f"web {self.url}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Take no further clients."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def host_and_port(text: str, default_port: int) -> tuple[str, int]:
    """``HOST:PORT``, ``:PORT`` or ``PORT``. Raises ``SinkError`` for anything else."""
    host, _, port = text.rpartition(":")
    if not (port or str(default_port)).isdecimal() or int(port or default_port) > 65_535:
        raise SinkError(f"`{text}` is no address to serve at, expected HOST:PORT or :PORT")
    return host.strip("[]"), int(port or default_port)
