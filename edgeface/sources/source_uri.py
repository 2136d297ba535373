"""Sources' URIs: kind and options."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from edgeface.common.addresses import option_shown, public_name, scheme_of, value_shown
from edgeface.errors import ConfigError


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


def query_of(uri: str, known: dict[str, type]) -> dict[str, Any]:
    """The options after ``?`` as their types. Raises ``ConfigError`` for one that is unknown or malformed."""
    given: dict[str, Any] = {}
    for key, text in parse_qsl(uri.partition("?")[2], keep_blank_values=True):
        if key not in known:
            what = f"unknown option {option_shown(key)}, expected {', '.join(known)}"
            raise ConfigError(f"`{public_name(uri)}`: {what}")
        try:
            given[key] = known[key](text)
        except ValueError:
            wanted = f"{key}: expected {_WANTED[known[key]]}, found {value_shown(text)}"
            raise ConfigError(f"`{public_name(uri)}`: {wanted}") from None
    return given


class Size(tuple[int, int]):
    """Width and height in pixels, written 640x360."""

    def __new__(cls, text: str) -> Size:
        match = re.fullmatch(r"(\d+)x(\d+)", text)
        if not match or not (0 < int(match[1]) <= 16_384 and 0 < int(match[2]) <= 16_384):
            raise ValueError
        return super().__new__(cls, (int(match[1]), int(match[2])))


_WANTED: dict[type, str] = {Size: "a size such as 640x360", int: "a whole number", float: "a number"}
