"""Following faces through time: a Kalman filter per face, the best assignment of detections to them per frame.

SORT (Bewley et al., "Simple online and realtime tracking", ICIP 2016) with the changes that faces on live sources ask
for: time is the stream's, not a count of frames, since frames are dropped; noise is in units of the face's size; speed
fades while a face is hidden, so that it is looked for between where it was and where it was heading; and pairs are
weighed by their likelihood (Mahalanobis distance and the spread it was measured in), which settles crossings better
than overlap does. No appearance is used.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ConfigError
from edgeface.tracking.assignment import best_pairs
from edgeface.tracking.clock import StreamClock
from edgeface.tracking.track_ids import TrackIdAllocator
from edgeface.types import Faces, Tracks

_SPEED_LIFE_S = 0.2
"""After this time a speed has faded to 1/e: people turn and stop, and a face half covered seems to move."""
_SPEED_STD = 10.0
"""Spread of the speed of a face just found, sizes per second: a small face may move by half its size a frame."""
_ACCELERATION_PSD = 60.0
"""Spectral density of the random accelerations, sizes² per second³."""
_SEEN_STD = (0.08, 0.08, 0.25, 0.25)
"""Spread of a detector's x, y, width and height, in sizes; a box shrinks with what covers the face."""
_GATE = 18.47
"""A pair further apart than this (squared Mahalanobis distance, four degrees of freedom) occurs once in 1000."""
_MAX_SEARCH_DISTANCE = 3.0
"""However uncertain a hidden face has become, it is not looked for further than this many sizes from its place."""
_MAX_LOG_DETERMINANT = 4 * math.log(_MAX_SEARCH_DISTANCE**2)
"""Log determinant of a spread as wide as the reach; nothing counts as vaguer."""
_TENTATIVE_S = 0.2
"""A face not confirmed yet may be missing this long."""

Array = NDArray[np.float64]


class KalmanTracker:
    """Gives faces of successive frames of one source track numbers from 1 up.

    A track gets its number with its ``min_hits``-th face (at once in the first frame), so a detector's flicker takes
    none; it is forgotten after ``max_gap_s`` seconds without a face. Where frames are rarer than that, after one and
    a half of their usual intervals. Raises ``ConfigError`` for a setting out of range.
    """

    def __init__(self, min_hits: int = 2, max_gap_s: float = 1.0) -> None:
        if not 0 < max_gap_s < math.inf:
            raise ConfigError(f"max_gap_s: expected seconds above 0, found {max_gap_s}")
        self.max_gap_s = max_gap_s
        self._numbers = TrackIdAllocator(min_hits)
        self._clock = StreamClock()
        self._tracks: list[_Track] = []

    @property
    def count(self) -> int:
        """Numbers given so far."""
        return self._numbers.count

    def __call__(self, faces: Faces, pts_s: float | None = None) -> Tracks:
        """Track numbers of the next frame's ``faces``, in their order; -1 for a face not confirmed yet.

        ``pts_s`` is the frame's time in seconds; without it, and where it does not advance, one usual interval passes.
        """
        step_s = self._clock.tick(pts_s)
        for track in self._tracks:
            track.predict(step_s)
        self._drop(max(self.max_gap_s, 1.5 * self._clock.interval_s))
        places = _places(faces.boxes)
        pairs = self._match(places)
        seen = [self._seen(place, pairs.get(row)) for row, place in enumerate(places)]
        self._numbers.assign(seen)
        return Tracks(np.array([track.number for track in seen], np.int64))

    def forget(self) -> None:
        """Follow no one any more; the next frame is a first one, its numbers go on from ``count``."""
        self._tracks, self._clock = [], StreamClock()
        self._numbers.restart()

    def _drop(self, gap_s: float) -> None:
        """Forget tracks unseen for longer than ``gap_s``, or for a moment if no one confirmed them."""
        brief_s = min(gap_s, max(_TENTATIVE_S, 1.5 * self._clock.interval_s))
        self._tracks = [t for t in self._tracks if t.unseen_s <= (gap_s if t.number >= 0 else brief_s) + 1e-6]

    def _match(self, places: Array) -> dict[int, int]:
        """Rows of ``places`` → indices of their tracks: the likeliest assignment, far pairs left out."""
        if not self._tracks or not len(places):
            return {}
        association_scores = np.stack([track.association_scores(places) for track in self._tracks], axis=1)
        return {row: column for row, column in best_pairs(association_scores) if association_scores[row, column] > 0}

    def _seen(self, place: Array, column: int | None) -> _Track:
        """The track of ``place``: the matched one, corrected by it, or a new one."""
        if column is None:
            self._tracks.append(_Track(place))
            return self._tracks[-1]
        self._tracks[column].correct(place)
        return self._tracks[column]


class _Track:
    """One face followed: x, y of its centre, width and height, each with its speed.

    ``mean`` float64 ``[4, 2]`` in pixels and pixels per second, ``spread`` float64 ``[4, 2, 2]`` their covariances;
    the four are independent of each other.
    """

    def __init__(self, place: Array) -> None:
        size = _size(place)
        self.mean = np.stack([place, np.zeros(4)], axis=1)
        self.spread = np.zeros((4, 2, 2))
        self.spread[:, 0, 0] = _noise(size)
        self.spread[:, 1, 1] = (_SPEED_STD * size) ** 2
        self.hits, self.unseen_s, self.number = 1, 0.0, -1

    @property
    def size(self) -> float:
        """The side of a square of the box's area, at least a pixel."""
        return _size(self.mean[:, 0])

    def predict(self, step_s: float) -> None:
        """Let ``step_s`` seconds pass."""
        self.unseen_s += step_s
        move = _motion(step_s)
        self.mean = self.mean @ move.T
        self.spread = move @ self.spread @ move.T + self.size**2 * _push(step_s)

    def correct(self, place: Array) -> None:
        """Take ``place`` (x, y, width, height) as seen now."""
        surprise = place - self.mean[:, 0]
        gain = self.spread[:, :, 0] / (self.spread[:, 0, 0] + _noise(self.size))[:, None]
        self.mean = self.mean + gain * surprise[:, None]
        self.spread = self.spread - gain[:, :, None] * self.spread[:, None, 0, :]
        self.hits, self.unseen_s = self.hits + 1, 0.0

    def association_scores(self, places: Array) -> Array:
        """How likely each of ``places`` ``[N, 4]`` is this face, comparable among tracks: float64 ``[N]``; 0: not it.

        Twice the log likelihood in units of the face's size, lifted so that whatever passes the gate is above 0.
        """
        variance = self.spread[:, 0, 0] + _noise(self.size)
        distance = ((places - self.mean[:, 0]) ** 2 / variance).sum(axis=1)
        vague = min(float(np.log(variance / self.size**2).sum()), _MAX_LOG_DETERMINANT)
        step = np.hypot(*(places[:, :2] - self.mean[:2, 0]).T)
        possible = (distance <= _GATE) & (
            step <= _MAX_SEARCH_DISTANCE * np.maximum(self.size, np.sqrt(places[:, 2:].prod(axis=1)))
        )
        return np.where(possible, _GATE + _MAX_LOG_DETERMINANT - distance - vague + 1, 0.0)


def _places(boxes: NDArray[np.floating]) -> Array:
    """Boxes xyxy ``[N, 4]`` as centre x, y, width, height."""
    wide = boxes.astype(np.float64)
    return np.concatenate([(wide[:, :2] + wide[:, 2:]) / 2, wide[:, 2:] - wide[:, :2]], axis=1)


def _size(place: Array) -> float:
    return math.sqrt(max(float(place[2]), 1.0) * max(float(place[3]), 1.0))


def _noise(size: float) -> Array:
    """Variances of what a detector says of a face of this size: float64 ``[4]``, pixels²."""
    return (np.asarray(_SEEN_STD) * size) ** 2


def _motion(step_s: float) -> Array:
    """What ``step_s`` seconds do to a place and its fading speed: float64 ``[2, 2]``."""
    fade = math.exp(-step_s / _SPEED_LIFE_S)
    return np.array([[1.0, _SPEED_LIFE_S * (1 - fade)], [0.0, fade]])


def _push(step_s: float) -> Array:
    """Covariance that random accelerations add in ``step_s`` seconds to a face of size 1: float64 ``[2, 2]``."""
    step_s = min(step_s, 1.0)  # beyond it the reach, not the spread, bounds the search
    return _ACCELERATION_PSD * np.array([[step_s**3 / 3, step_s**2 / 2], [step_s**2 / 2, step_s]])
