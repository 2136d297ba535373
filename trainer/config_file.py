"""Recipes: a frozen dataclass filled from a TOML file and ``--set key=value``. One reader for both trainers."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from edgeface.common.toml_file import read_toml, toml_value, unknown_key
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
    return build(kind, raw, "the settings" if path is None else f"recipe `{path}`")


def build(kind: type[Settings], raw: Mapping[str, Any], where: str) -> Settings:
    """A ``kind`` from plain values, each checked against its field's type. Raises ``ConfigError``."""
    hints = typing.get_type_hints(kind)
    for key in raw:
        if key not in hints:
            raise ConfigError(f"{where}: {unknown_key(key, hints)}")
    return kind(**{key: _as_type(value, hints[key], f"{where}: `{key}`") for key, value in raw.items()})


def problems(found: Iterable[tuple[bool, str, Any, str]]) -> None:
    """Raise ``ConfigError`` for the first of (is wrong, key, value, what was expected)."""
    for wrong, key, value, expected in found:
        if wrong:
            raise ConfigError(f"`{key}`: expected {expected}, found {value}")


def _as_type(value: Any, wanted: Any, what: str) -> Any:
    """``value`` as ``wanted`` (str, int, float, bool or a tuple of one of them) without guessing."""
    if typing.get_origin(wanted) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{what}: expected a list, found {value!r}")
        return tuple(_as_type(item, typing.get_args(wanted)[0], what) for item in value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not wanted:
        raise ConfigError(f"{what}: expected {wanted.__name__}, found {value!r}")
    return value


def _parse(kind: type[Any], key: str, text: str) -> Any:
    """A command-line value, written as in TOML; a bare word is a string."""
    if typing.get_type_hints(kind).get(key) is str:
        return text.strip("\"'")
    try:
        return toml_value(text)
    except ValueError:
        return text
