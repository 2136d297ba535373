"""Where a process's memory is: what glibc has handed out and what it keeps, and which lines of Python hold how much."""

from __future__ import annotations

import ctypes
import gc
import tracemalloc
from typing import Any

_FIELDS = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)
_MB = 1e6


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def allocator_mb() -> dict[str, float]:
    """glibc's own figures in MB: ``used`` is handed out (mapped blocks too), ``kept`` is free in its arenas.

    A program that leaks grows in ``used``; one whose arenas fragment grows in ``kept``. Empty without glibc.
    """
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):
        return {}
    mallinfo2.restype = _Mallinfo2
    found = mallinfo2()
    return {
        "used": round((found.uordblks + found.hblkhd) / _MB, 1),
        "kept": round(found.fordblks / _MB, 1),
    }


class Growth:
    """Which lines of Python allocated what is held now and was not at ``begin``."""

    def __init__(self) -> None:
        self._before: tracemalloc.Snapshot | None = None

    def begin(self) -> None:
        """Remember what is held now; from here on lines are attributed."""
        gc.collect()
        if not tracemalloc.is_tracing():
            tracemalloc.start(3)
        self._before = tracemalloc.take_snapshot()

    def lines(self, most: int = 12) -> list[dict[str, Any]]:
        """The ``most`` lines that grew most: where, KB and blocks more than at ``begin``."""
        if self._before is None:
            return []
        gc.collect()
        found = tracemalloc.take_snapshot().compare_to(self._before, "lineno")[:most]
        return [
            {
                "where": "/".join(str(one.traceback[0]).split("/")[-3:]),
                "kb": round(one.size_diff / 1e3, 1),
                "blocks": one.count_diff,
            }
            for one in found
        ]
