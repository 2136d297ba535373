"""What a peer is to a suite: something to call, or the reason why there is nothing to call."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Call = Callable[[], object]


class Unavailable(Exception):
    """A peer that is not installed or cannot do this; the message is the row's text."""


@dataclass(frozen=True)
class Contender:
    """A row of a case. Without a ``call``, ``reason`` says why; ``facts`` go into the results as they are."""

    name: str
    call: Call | None
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def contender(name: str, make: Callable[[], tuple[Call, Mapping[str, Any]]]) -> Contender:
    """The contender that ``make`` opens and tries out; whatever keeps it from running becomes its reason.

    A suite of many packages must outlive any one of them, so every exception counts as a reason.
    """
    try:
        call, facts = make()
        call()
    except Exception as error:
        return Contender(name, None, reason_of(error))
    return Contender(name, call, facts=facts)


def required(package: str, install: str = "") -> Any:
    """The imported package. Raises ``Unavailable``, naming the ``install`` words that bring it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise Unavailable(f"`{package}` is not installed: pip install {install or package}") from error


def reason_of(error: Exception) -> str:
    """An error's first line, with its kind where it is none of ours."""
    lines = str(error).strip().splitlines()
    text = lines[0][:160] if lines else ""
    return text if isinstance(error, Unavailable) else f"{type(error).__name__}: {text}".rstrip(": ")
