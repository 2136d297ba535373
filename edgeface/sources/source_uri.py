"""Sources' URIs: kind, options, and a name without secrets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode, urlsplit, urlunsplit

from edgeface.errors import ConfigError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)  # two letters or more: C:\ is a place on a disk
_SECRET = re.compile(r"pass|pwd|token|key|secret|auth|user|sig", re.IGNORECASE)


def is_local(uri: str) -> bool:
    """Whether ``uri`` is a place on a disk, not a camera or an address."""
    return local_path(uri) is not None


def local_path(uri: str | os.PathLike[str]) -> Path | None:
    """The place on a disk that ``uri`` names, there or not; ``None`` for a camera or an address.

    A ``file:`` URI is percent-decoded, so that it can name any bytes: ``file:///x/a%20b.mp4``, ``file:M%FCnchen.jpg``.
    A name that exists is taken as it is, whatever it looks like.
    """
    text = os.fspath(uri)
    if not scheme_of(text) or os.path.lexists(text):
        return Path(text)
    rest = re.match(r"file:(?://(?:localhost)?(?=/))?(?!//)(.+)", text, re.IGNORECASE | re.DOTALL)
    if rest is None:
        return None
    literal = Path(rest[1])  # a shell's user writes the name as it is
    return literal if os.path.lexists(literal) else Path(os.fsdecode(unquote_to_bytes(os.fsencode(rest[1]))))


def public_name(uri: str) -> str:
    """``uri`` without user, password and secrets in its query, for logs and results."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri
    query = urlencode(
        [(key, "***" if _SECRET.search(key) else value) for key, value in parse_qsl(parts.query)], safe="*"
    )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def query_of(uri: str, known: dict[str, type]) -> dict[str, Any]:
    """The options after ``?`` as their types. Raises ``ConfigError`` for one that is unknown or malformed."""
    given: dict[str, Any] = {}
    for key, text in parse_qsl(uri.partition("?")[2], keep_blank_values=True):
        if key not in known:
            raise ConfigError(f"`{uri}`: unknown option `{key}`, expected {', '.join(known)}")
        try:
            given[key] = known[key](text)
        except ValueError as error:
            raise ConfigError(f"`{uri}`: {key}: expected {_WANTED[known[key]]}, found `{text}`") from error
    return given


class Size(tuple[int, int]):
    """Width and height in pixels, written 640x360."""

    def __new__(cls, text: str) -> Size:
        match = re.fullmatch(r"(\d+)x(\d+)", text)
        if not match or not (0 < int(match[1]) <= 16_384 and 0 < int(match[2]) <= 16_384):
            raise ValueError
        return super().__new__(cls, (int(match[1]), int(match[2])))


_WANTED: dict[type, str] = {Size: "a size such as 640x360", int: "a whole number", float: "a number"}


def scheme_of(uri: str) -> str:
    """The kind of a URI in lower case, "v4l2" for a bare camera number, "" for a path."""
    match = _SCHEME.match(uri)
    return "v4l2" if uri.isdecimal() else match[1].lower() if match else ""
