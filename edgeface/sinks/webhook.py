"""Results as HTTP POST requests: ``webhook:https://host/path``."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time

from edgeface import __version__
from edgeface.common.addresses import secret_of
from edgeface.errors import ConfigError, SinkError
from edgeface.inference.result import FrameResult
from edgeface.sinks.base import Message, MessageSink
from edgeface.sinks.reconnecting import ReconnectingSink, log
from edgeface.sinks.sink_uri import SinkUri

_WORTH_RETRYING = (408, 425, 429)
"""Refusals that pass by; other 4xx would be given again."""
_LONGEST_ANSWER = 65_536
TOKEN = "EDGEFACE_WEBHOOK_TOKEN"
"""Environment variable: sent as a bearer token, so that it is on no command line."""


class WebhookSink(ReconnectingSink, MessageSink):
    """Posts results as JSON (``FrameResult.to_dict``) over one connection that is kept open.

    Options: ``every`` seconds between results that are posted (1; 0: all), ``timeout`` seconds for an answer (5),
    ``attempts`` at one result (5), with growing waits between them. 2xx is success; 408, 425, 429, 5xx and an absent
    server are tried again; any other answer drops the result. The query of the address is part of the request.
    """

    def __init__(self, uri: str) -> None:
        given = SinkUri(uri, {"every": 1.0, "timeout": 5.0, "attempts": 5})
        super().__init__(given.name)
        self._url = given.url()
        if self._url.scheme not in ("http", "https") or not self._url.hostname or self._url.port == 0:
            raise SinkError(f"`{self.name}` is no address, expected webhook:https://HOST/PATH")
        if not re.fullmatch(r"[\x21-\x7e]*", self._url.path + self._url.query):
            raise SinkError(f"`{self.name}`: percent-encode what is beyond ASCII in the path")
        self._headers()  # a token that cannot be sent is an error now
        self._every_s = given.number("every", 0, 86_400)
        self._timeout_s = given.number("timeout", 0.1, 120)
        self._attempts = int(given.number("attempts", 1, 1000))
        self._last_s = -float("inf")
        self._connection: http.client.HTTPConnection | None = None

    def append(self, result: FrameResult) -> None:
        """Post ``result`` unless another was posted less than ``every`` seconds ago."""
        if time.monotonic() - self._last_s >= self._every_s:
            self._last_s = time.monotonic()
            self.send(result.to_dict())

    def send(self, message: Message) -> None:
        """Post one message; returns when it was taken or given up."""
        body = json.dumps(message, ensure_ascii=False).encode()
        self.retry(lambda: self._post(body), self._attempts)

    def _post(self, body: bytes) -> bool:
        """One request; ``False`` where it is refused for good. Raises ``OSError`` for what is worth another attempt."""
        try:
            status = self._ask(body)
        except (OSError, http.client.HTTPException) as error:
            raise OSError(f"no answer: {_why(error)}") from None
        if 200 <= status < 300:
            return True
        self._hang_up()
        if status >= 500 or status in _WORTH_RETRYING:
            raise OSError(f"answered {_in_words(status)}")
        log.warning("%s: refused a result: %s", self.name, _in_words(status), extra={"sink": self.name})
        self.count(errors=1)
        return False

    def _ask(self, body: bytes) -> int:
        """The status; a connection that the server closed meanwhile is replaced by a new one."""
        kept, self._connection = self._connection, None
        if kept is not None:
            try:
                return self._ask_over(kept, body)
            except (OSError, http.client.HTTPException):
                pass
        return self._ask_over(self._connect(), body)

    def _ask_over(self, connection: http.client.HTTPConnection, body: bytes) -> int:
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        try:
            connection.request("POST", target, body, self._headers())
            answer = connection.getresponse()
            rest = answer.read(_LONGEST_ANSWER)
        except BaseException:
            connection.close()
            raise
        if len(rest) < _LONGEST_ANSWER and not answer.will_close:
            self._connection = connection
        else:
            connection.close()
        return answer.status

    def _connect(self) -> http.client.HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, self._url.port, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(host, self._url.port, timeout=self._timeout_s)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"edgeface/{__version__}"}
        try:
            token = secret_of(TOKEN)
        except ConfigError as error:
            raise SinkError(str(error)) from None
        return headers | ({"Authorization": f"Bearer {token}"} if token else {})

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        self._hang_up()


def _why(error: OSError | http.client.HTTPException) -> str:
    """The system's words; an ``HTTPException`` quotes the request or what the server sent, so only its kind is told."""
    if isinstance(error, http.client.HTTPException):
        return type(error).__name__
    return str(error.strerror or error) or type(error).__name__


def _in_words(status: int) -> str:
    """A status as RFC 9110 names it; the server's own words may hold anything."""
    return f"{status} {http.client.responses.get(status, '')}".strip()
