"""Sinks' URIs: address and options, and an address without its secrets for logs.

Options follow a ``#`` as ``key=value&key=value``, so that they cannot be taken for a part of the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from edgeface.errors import SinkError


class SinkUri:
    """Address and options of a sink's URI; ``known`` are the options there are, with their defaults."""

    def __init__(self, uri: str, known: Mapping[str, str | float]) -> None:
        address, _, options = uri.partition("#")
        self.address = address
        self.name = redacted(address)
        self._values: dict[str, str | float] = dict(known)
        for key, value in parse_qsl(options, keep_blank_values=True):
            if key not in known:
                expected = ", ".join(known) or "none"
                raise SinkError(f"`{self.name}` has no option `{key}`, expected one of: {expected}")
            self._values[key] = value

    def url(self) -> SplitResult:
        """The address in parts. Raises ``SinkError`` where it is none."""
        try:
            parts = urlsplit(self.address)
            _ = parts.port
        except ValueError as error:
            raise SinkError(f"`{self.name}` is no address: {error}") from error
        return parts

    def text(self, key: str) -> str:
        return str(self._values[key])

    def number(self, key: str, least: float, most: float) -> float:
        """A number within bounds. Raises ``SinkError`` for anything else."""
        try:
            value = float(self._values[key])
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            wanted = f"a number from {least:g} to {most:g}"
            raise SinkError(f"`{self.name}`: option `{key}` expects {wanted}, found `{self._values[key]}`")
        return value


def redacted(address: str) -> str:
    """An address for logs and metrics: without user, password and query, where secrets are kept."""
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme == "webhook":
            inner = urlsplit(address.partition(":")[2])
            return f"webhook:{inner.scheme}://{inner.netloc.rpartition('@')[2]}/…"  # its path often is the secret
        return parts._replace(netloc=host, query="", fragment="").geturl() if host else address.partition("?")[0]
    except ValueError:
        return address.partition(":")[0] + ":…"


LIVE_SCHEMES = ("display", "http", "rtsp", "mqtt", "mqtts", "webhook")
