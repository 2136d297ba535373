"""Sources' URIs: kind and options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from edgeface.common.addresses import option_shown, public_name, scheme_of, value_shown
from edgeface.errors import ConfigError


def is_local(uri: str) -> bool:
    """Whether ``uri`` is a place on a disk, not a camera or an address."""
    return Path(uri).exists() or not scheme_of(uri)


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
