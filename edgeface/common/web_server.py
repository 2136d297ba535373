"""A small HTTP server in threads, bounded in clients and patience; pages and metrics are served by it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any

from edgeface.errors import SinkError

_CLIENTS = 16
_PATIENCE_S = 5.0
"""A client that takes nothing for so long is hung up on."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Request(BaseHTTPRequestHandler):
    """One GET request: what a page's function gets. ``open_ended`` starts an answer that goes on."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "edgeface"
    sys_version = ""
    timeout = _PATIENCE_S

    def do_GET(self) -> None:  # the name that the base class calls
        page = self.server.pages.get(self.path.partition("?")[0])
        if not self._for_us():
            self.answer(403, "text/plain", b"this server answers on this machine only\n")
        elif page is None:
            self.answer(404, "text/plain", f"no such page, there is: {' '.join(self.server.pages)}\n".encode())
        elif not self.server.places.acquire(blocking=False):
            self.answer(503, "text/plain", f"all {_CLIENTS} places are taken\n".encode())
        else:
            try:
                page(self)
            except OSError:  # the client went away, or took nothing for too long
                self.close_connection = True
            finally:
                self.server.places.release()

    def _for_us(self) -> bool:
        """Whether the browser meant this machine: a foreign page may name us by a host name of its own."""
        if self.server.address not in _LOOPBACK:
            return True
        host = self.headers.get("Host", "").rpartition("]")[0].strip("[") or self.headers.get("Host", "").split(":")[0]
        return host in _LOOPBACK

    def answer(self, status: int, kind: str, body: bytes) -> None:
        """A whole answer."""
        self.send_response(status)
        self._head(kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def open_ended(self, kind: str) -> None:
        """The head of an answer that ends when the connection does."""
        self.close_connection = True
        self.send_response(200)
        self._head(kind)
        self.send_header("Connection", "close")
        self.end_headers()

    def _head(self, kind: str) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news."""


Page = Callable[[Request], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, pages: dict[str, Page]) -> None:
        self.address, self.pages = host, pages
        self.places = threading.BoundedSemaphore(_CLIENTS)
        super().__init__((host, port), Request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is no news either."""


class WebServer:
    """Serves ``pages`` (path → function) at ``host:port`` until it is closed; an empty host is this machine only.

    Port 0 takes a free one; ``url`` says which. Raises ``SinkError`` where the port is taken or the host is not ours.
    """

    def __init__(self, host: str, port: int, pages: dict[str, Page]) -> None:
        host = host or _LOOPBACK[0]
        try:
            self._server: BaseServer = _Server(host, port, pages)
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
