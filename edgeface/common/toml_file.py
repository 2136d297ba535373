"""TOML files that users write (recipes, gates, calibration sets) as dataclasses, or refused with one sentence."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import sys
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from edgeface.errors import ConfigError, EdgefaceError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
_LONGEST_SHOWN = 80


def read_toml(path: str | os.PathLike[str], what: str, hint: str = "") -> dict[str, Any]:
    """The file's table. ``what`` ("recipe", "calibration set") names it in messages, ``hint`` says how to get one.

    Raises ``ConfigError`` where the file is missing, cannot be read or is not valid TOML.
    """
    try:
        return dict(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"no {what} at `{path}`: no such file{_clause(hint)}") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{what} `{path}` is a directory, expected a TOML file") from error
    except OSError as error:
        raise ConfigError(f"cannot read {what} `{path}`: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} `{path}` is not valid TOML: it is no text in UTF-8") from error
    except ValueError as error:
        raise ConfigError(f"{what} `{path}` is not valid TOML: {error}") from error


def _clause(hint: str) -> str:
    return f"; {hint}" if hint else ""


def toml_value(text: str) -> Any:
    """One value as TOML writes it (``3``, ``[1, 2]``, ``"text"``). Raises ``ValueError``."""
    return tomllib.loads(f"value = {text}")["value"]


def unknown_key(key: str, known: Iterable[str]) -> str:
    """A clause for messages: that there is no such key, and which known one is nearest."""
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.0)
    return f"no key `{key}`" + (f", the nearest is `{near[0]}`" if near else "")


def from_table(
    kind: type[T],
    table: Mapping[str, Any],
    where: str,
    error: type[EdgefaceError] = ConfigError,
    ignore_unknown: bool = False,
    hint: str = "",
) -> T:
    """The dataclass ``kind`` filled from a table of TOML or JSON, each value checked against its field's type.

    Fields hold str, int, float, bool, ``Path``, another dataclass, a tuple or a mapping of one of them, or one of them
    or ``None``. Raises ``error``, in one sentence that begins with ``where``, for keys that are missing or (unless
    ``ignore_unknown``, for files that a later release may have written) unknown, for values of another type and for
    what the dataclass itself refuses. ``hint`` says how to get a table with all of its keys.
    """
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in hints and not ignore_unknown:
            raise error(f"{where}: {unknown_key(key, hints)}")
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name not in table and field.default is field.default_factory is dataclasses.MISSING:
            raise error(f"{where}: the key `{field.name}` is missing{_clause(hint)}")
    values = {
        key: _as_type(value, hints[key], f"{where}: `{key}`", error, ignore_unknown)
        for key, value in table.items()
        if key in hints
    }
    try:
        return kind(**values)
    except ConfigError as fault:  # from the dataclass's own checks
        raise error(f"{where}: {fault}") from fault


def _as_type(value: Any, wanted: Any, what: str, error: type[EdgefaceError], lax: bool = False) -> Any:
    """``value`` as ``wanted``, without guessing."""
    args = typing.get_args(wanted)
    options = [option for option in args if option is not type(None)]
    if wanted is Any or (value is None and type(None) in args):
        return value
    if typing.get_origin(wanted) is tuple:
        if not isinstance(value, (list, tuple)):
            raise error(f"{what}: expected a list, found {_shown(value)}")
        if Ellipsis not in args and len(value) != len(args):
            raise error(f"{what}: expected {len(args)} entries, found {len(value)}")
        named = [
            f"{what}, entry {n}" if dataclasses.is_dataclass(options[0]) else what for n in range(1, len(value) + 1)
        ]
        return tuple(_as_type(item, options[0], name, error, lax) for item, name in zip(value, named))
    if typing.get_origin(wanted) is Mapping:
        if not isinstance(value, dict):
            raise error(f"{what}: expected a table, found {_shown(value)}")
        return {key: _as_type(item, args[1], f"{what}, {_shown(key)}", error, lax) for key, item in value.items()}
    if options:
        return _as_type(value, options[0], what, error, lax)
    if dataclasses.is_dataclass(wanted):
        if not isinstance(value, dict):
            raise error(f"{what}: expected a table, found {_shown(value)}")
        return from_table(typing.cast(type, wanted), value, what, error, lax)
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is Path and type(value) is str:
        return Path(value)
    if type(value) is not wanted:  # True is an int to isinstance
        raise error(f"{what}: expected {'str' if wanted is Path else wanted.__name__}, found {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """A value in a message: escaped, and no longer than a line."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def in_range(default: T, lowest: float, highest: float = math.inf) -> T:
    """A dataclass field for a finite number within bounds, or ``None``; ``check_ranges`` checks it."""
    return dataclasses.field(default=default, metadata={"range": (lowest, highest)})


def check_ranges(values: Any) -> None:
    """Raise ``ConfigError`` for the first field of the dataclass ``values`` that is out of its ``in_range``."""
    for field in dataclasses.fields(values):
        value = getattr(values, field.name)
        lowest, highest = field.metadata.get("range", (-math.inf, math.inf))
        if (
            "range" in field.metadata
            and value is not None
            and not (math.isfinite(value) and lowest <= value <= highest)
        ):
            wanted = f"{lowest:g} or more" if highest == math.inf else f"{lowest:g} to {highest:g}"
            raise ConfigError(f"`{field.name}`: expected {wanted}, found {value}")
