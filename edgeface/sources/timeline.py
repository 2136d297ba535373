"""Times of a live stream: which clock to believe, and how late the stream runs.

A camera's clock starts anywhere, jumps when it is set, and runs a little faster or slower than ours.
"""

from __future__ import annotations

_DRIFT = 1e-4
"""How much faster than ours a camera's clock may run: a cheap crystal's 50 parts in a million on either side."""
_SLEW = 0.5
"""How fast the delay may rise while frames are waited for."""
_JUMP_S = 5.0
"""A stream that is this much ahead of the wall clock's progress has had its clock set."""
_STEP_S = 1e-3


class Timeline:
    """The stream's own times, made to grow: over a clock that is set or restarts, our clock says how much passed."""

    def __init__(self) -> None:
        self.jumps = 0
        self._shift_s = 0.0
        self._last: tuple[float, float] | None = None
        self._broken = False

    def restart(self) -> None:
        """The next time belongs to a new connection."""
        self._broken = True

    def __call__(self, stated_s: float | None, arrived_s: float) -> float:
        """Seconds of a frame that states ``stated_s`` (``None``: no time) and arrived at ``arrived_s``."""
        pts_s = self._continued(stated_s, arrived_s)
        self._last, self._broken = (pts_s, arrived_s), False
        return pts_s

    def _continued(self, stated_s: float | None, arrived_s: float) -> float:
        if self._last is None:
            return 0.0 if stated_s is None else stated_s
        last_s, elapsed_s = self._last[0], max(arrived_s - self._last[1], _STEP_S)
        if stated_s is None:
            return last_s + elapsed_s
        step_s = stated_s + self._shift_s - last_s
        if self._broken or step_s <= 0 or step_s - elapsed_s > _JUMP_S:
            self.jumps += not self._broken
            self._shift_s = last_s + elapsed_s - stated_s
        return stated_s + self._shift_s


class Latency:
    """When a frame was taken by our clock, from its stated time and its arrival.

    The least delay seen so far counts as the way's own, and what a frame takes longer is lateness: it waited in a
    buffer of ours. That least delay may rise by the clocks' drift (Moon, Skelly and Towsley, "Estimation and removal of
    clock skew from network delay measurements", INFOCOM 1999, fit the same lower envelope), so that lateness that grows
    over hours is seen as such. A frame that we waited for was in no buffer of ours: after it the delay may rise fast,
    since then the camera is slower than the times it states.
    """

    def __init__(self) -> None:
        self._delay_s: float | None = None
        self._last_s = 0.0

    def captured_s(self, stated_s: float | None, arrived_s: float, waited: bool = True) -> float:
        """When a frame was taken; its arrival where it states no time."""
        if stated_s is None:
            return arrived_s
        delay_s = arrived_s - stated_s
        if self._delay_s is None or abs(delay_s - self._delay_s) > 4 * _JUMP_S:  # the stream's clock was set
            self._delay_s = delay_s
        rise_s = (_SLEW if waited else _DRIFT) * (arrived_s - self._last_s)
        self._delay_s = min(delay_s, self._delay_s + rise_s)
        self._last_s = arrived_s
        return stated_s + self._delay_s

    def lag_s(self, stated_s: float, arrived_s: float) -> float:
        """How much later than usual something with this time arrived."""
        return 0.0 if self._delay_s is None else arrived_s - stated_s - self._delay_s
