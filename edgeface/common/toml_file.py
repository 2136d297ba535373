"""TOML files that users write (recipes, gates, calibration sets): read, or refused with one sentence."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgeface.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """The file's table. ``what`` ("recipe", "calibration set") names it in messages.

    Raises ``ConfigError`` where the file is missing, cannot be read or is not valid TOML.
    """
    try:
        return dict(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"no {what} at `{path}`: no such file") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{what} `{path}` is a directory, expected a TOML file") from error
    except OSError as error:
        raise ConfigError(f"cannot read {what} `{path}`: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} `{path}` is not valid TOML: it is no text in UTF-8") from error
    except ValueError as error:
        raise ConfigError(f"{what} `{path}` is not valid TOML: {error}") from error


def toml_value(text: str) -> Any:
    """One value as TOML writes it (``3``, ``[1, 2]``, ``"text"``). Raises ``ValueError``."""
    return tomllib.loads(f"value = {text}")["value"]


def unknown_key(key: str, known: Iterable[str]) -> str:
    """A clause for messages: that there is no such key, and which known one is nearest."""
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.0)
    return f"no key `{key}`" + (f", the nearest is `{near[0]}`" if near else "")
