"""Sinks' URIs: address and options.

Options follow a ``#`` as ``key=value&key=value``, so that they cannot be taken for a part of the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl

from edgeface.common.addresses import (
    ENCODE,
    address_parts,
    option_shown,
    public_name,
    value_shown,
    with_secrets,
)
from edgeface.errors import ConfigError, SinkError


class SinkUri:
    """Address and options of a sink's URI; ``known`` are the options there are, with their defaults."""

    def __init__(self, uri: str, known: Mapping[str, str | float]) -> None:
        address, _, options = uri.partition("#")
        self.name = public_name(uri if "@" in options else address)
        if "@" in options:
            raise SinkError(f"`{self.name}` cannot be read: {ENCODE}")
        self.address = with_secrets(address)
        self._values: dict[str, str | float] = dict(known)
        for key, value in parse_qsl(options, keep_blank_values=True):
            if key not in known:
                expected = ", ".join(known) or "none"
                raise SinkError(f"`{self.name}` has no option {option_shown(key)}, expected one of: {expected}")
            self._values[key] = value

    def url(self) -> SplitResult:
        """The address in parts. Raises ``SinkError`` where it is none."""
        try:
            return address_parts(self.address.removeprefix("webhook:"))
        except ConfigError as error:
            what = "; expected webhook:https://HOST/PATH" if self.address.startswith("webhook:") else ""
            raise SinkError(f"{error}{what}") from None

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
            raise SinkError(f"`{self.name}`: option `{key}` expects {wanted}, found {value_shown(self._values[key])}")
        return value


LIVE_SCHEMES = ("display", "http", "rtsp", "mqtt", "mqtts", "webhook")
