"""A source's time between frames, usable whatever the source states."""

from __future__ import annotations

import math

_NOMINAL_S = 1 / 25
"""A frame's duration where the source tells none."""


class StreamClock:
    """Time that only runs forward: it heals stamps that stand still, jump back or are not there at all.

    ``now_s`` counts from 0 at the first frame; ``interval_s`` is the usual time between two frames.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._last_s: float | None = None
        self._interval_s: float | None = None

    @property
    def interval_s(self) -> float:
        return _NOMINAL_S if self._interval_s is None else self._interval_s

    def tick(self, pts_s: float | None) -> float:
        """Seconds from the last frame to the one of ``pts_s``: one usual interval where the stamps tell none."""
        last_s, self._last_s = self._last_s, pts_s
        step_s = self.interval_s
        if pts_s is not None and last_s is not None and 0 < pts_s - last_s < math.inf:
            step_s = pts_s - last_s
            known_s = step_s if self._interval_s is None else self._interval_s
            self._interval_s = 0.9 * known_s + 0.1 * min(step_s, 2 * known_s)
        self.now_s += step_s
        return step_s
