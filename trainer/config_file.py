"""Recipes: a frozen dataclass filled from a TOML file and ``--set key=value``. One reader for both trainers."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from edgeface.common.toml_file import from_table, read_toml, toml_value
from edgeface.errors import ConfigError

Settings = TypeVar("Settings")


def load(kind: type[Settings], path: str | os.PathLike[str] | None, overrides: Iterable[str] = ()) -> Settings:
    """A recipe file (``None``: the defaults) with ``key=value`` overrides as a ``kind``. Raises ``ConfigError``."""
    raw = {} if path is None else read_toml(path, "recipe")
    for item in overrides:
        key, found, text = item.partition("=")
        if not found:
            raise ConfigError(f"--set {item}: expected key=value, as in --set seed=2")
        raw[key.strip()] = _parse(kind, key.strip(), text.strip())
    return from_table(kind, raw, "the settings" if path is None else f"recipe `{path}`")


def problems(found: Iterable[tuple[bool, str, Any, str]]) -> None:
    """Raise ``ConfigError`` for the first of (is wrong, key, value, what was expected)."""
    for wrong, key, value, expected in found:
        if wrong:
            raise ConfigError(f"`{key}`: expected {expected}, found {value}")


def _parse(kind: type[Any], key: str, text: str) -> Any:
    """A command-line value, written as in TOML; a bare word is a string."""
    if typing.get_type_hints(kind).get(key) is str:
        return text.strip("\"'")
    try:
        return toml_value(text)
    except ValueError:
        return text
