"""JSON that others wrote, read so that whatever it holds ends in one sentence."""

from __future__ import annotations

import json
import math
from typing import Any

_LONGEST = 64 << 20
_LARGEST_INT = 2**63


def json_object(text: str | bytes) -> dict[str, Any]:
    """The object in ``text``, with finite numbers only.

    Raises ``ValueError``, in a clause, for another value, invalid JSON, NaN, Infinity, numbers beyond a double or 63
    bits, nesting that no reader survives, and more than 64 MiB.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST >> 20} MiB")
    try:
        raw = json.loads(text, parse_constant=_refused, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(raw, dict):
        raise ValueError("it is not a JSON object")
    return raw


def finite_json(value: Any) -> Any:
    """``value`` as JSON can hold it: a number that is not finite becomes ``None``."""
    if isinstance(value, dict):
        return {key: finite_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -_LARGEST_INT <= int(text) < _LARGEST_INT:
        raise ValueError(f"the number {text[:20]} is too large")
    return int(text)
