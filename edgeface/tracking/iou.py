"""Telling the faces of a video apart: the same person keeps a number.

Tracking by detection as in SORT (Bewley et al., "Simple online and realtime tracking", ICIP 2016) and the IoU tracker
(Bochinski et al., AVSS 2017), with the enlarged boxes of C-BIoU (Yang et al., WACV 2023) in place of a Kalman filter:
faces are small and move by much of their size between frames, so their bare boxes often miss each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ConfigError
from edgeface.imaging.postprocess import iou_matrix
from edgeface.tracking.track_ids import TrackIdAllocator
from edgeface.types import Faces, Tracks

_SPEED_SMOOTHING = 0.5
"""Weight of the newest step in a track's velocity; detectors jitter by a pixel or two."""


class Tracker(Protocol):
    """Gives faces of one source's successive frames track numbers from 1 up; -1 to a face not confirmed yet.

    ``count`` numbers were given so far; ``forget`` drops all faces followed, numbers go on from there.
    """

    @property
    def count(self) -> int: ...

    def __call__(self, faces: Faces, pts_s: float | None = None) -> Tracks: ...

    def forget(self) -> None: ...


@dataclass
class _Track:
    """One face followed: its last ``box`` and its ``velocity`` in pixels a frame, both float64 ``[4]``."""

    box: NDArray[np.float64]
    velocity: NDArray[np.float64]
    hits: int = 1
    missed: int = 0
    number: int = -1

    def predicted(self) -> NDArray[np.float64]:
        """Where its box should be in the next frame: moved on with constant velocity, its size kept."""
        return self.box + self.velocity * (self.missed + 1)

    def follow(self, box: NDArray[np.float64]) -> None:
        """Take ``box`` as its place in this frame."""
        step = (_centre(box) - _centre(self.box)) / (self.missed + 1)
        weight = _SPEED_SMOOTHING if self.hits > 1 else 1.0
        self.velocity = (1 - weight) * self.velocity + weight * np.tile(step, 2)
        self.box, self.hits, self.missed = box, self.hits + 1, 0


class IouTracker:
    """Gives faces of successive frames track numbers from 1 up.

    A face joins the track whose predicted box, both enlarged by ``buffer_frac`` of their size on every side, overlaps
    its own best (greedily, intersection over union of ``iou_threshold`` or more). A track gets its number with its
    ``min_hits``-th face (at once in the first frame), so a detector's flicker takes none; it is forgotten after
    ``max_missed`` frames without a face. Raises ``ConfigError`` for a setting out of range.
    """

    def __init__(
        self, iou_threshold: float = 0.25, buffer_frac: float = 0.3, min_hits: int = 2, max_missed: int = 15
    ) -> None:
        problems = [
            (not 0 < iou_threshold < 1, f"iou_threshold: expected a number between 0 and 1, found {iou_threshold}"),
            (buffer_frac < 0, f"buffer_frac: expected 0 or more, found {buffer_frac}"),
            (max_missed < 0, f"max_missed: expected 0 or more, found {max_missed}"),
        ]
        for wrong, what in problems:
            if wrong:
                raise ConfigError(what)
        self.iou_threshold, self.buffer_frac = iou_threshold, buffer_frac
        self.max_missed = max_missed
        self._numbers = TrackIdAllocator(min_hits)
        self._tracks: list[_Track] = []

    @property
    def count(self) -> int:
        """Numbers given so far."""
        return self._numbers.count

    def __call__(self, faces: Faces, pts_s: float | None = None) -> Tracks:
        """Track numbers of the next frame's ``faces``, in their order; -1 for a face not confirmed yet.

        This tracker counts frames; ``pts_s`` is for those that know the time (``tracking.kalman.KalmanTracker``).
        """
        boxes = faces.boxes.astype(np.float64)
        pairs = self._match(boxes)
        for column, track in enumerate(self._tracks):
            if column not in pairs.values():
                track.missed += 1
        seen = [self._seen(boxes[row], pairs.get(row)) for row in range(len(boxes))]
        self._tracks = [track for track in self._tracks if track.missed <= self.max_missed]
        self._numbers.assign(seen)
        return Tracks(np.array([track.number for track in seen], np.int64))

    def forget(self) -> None:
        """Follow no one any more; the next frame is a first one, its numbers go on from ``count``."""
        self._tracks = []
        self._numbers.restart()

    def _match(self, boxes: NDArray[np.float64]) -> dict[int, int]:
        """Rows of ``boxes`` → indices of their tracks, taken by falling overlap; no track is used twice."""
        if not self._tracks or not len(boxes):
            return {}
        overlaps = self._overlaps(boxes)
        pairs: dict[int, int] = {}
        for flat in np.argsort(-overlaps, axis=None, kind="stable"):
            row, column = divmod(int(flat), len(self._tracks))
            if overlaps[row, column] < self.iou_threshold:
                break
            if row not in pairs and column not in pairs.values():
                pairs[row] = column
        return pairs

    def _overlaps(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Overlap of every box with every track: where it should be by now or, for one that stopped, where it was."""
        enlarged = self._enlarged(boxes)
        predicted = np.stack([track.predicted() for track in self._tracks])
        last = np.stack([track.box for track in self._tracks])
        return np.maximum(*(iou_matrix(enlarged, self._enlarged(place)) for place in (predicted, last)))

    def _seen(self, box: NDArray[np.float64], column: int | None) -> _Track:
        """The track of ``box``: the matched one, moved there, or a new one."""
        if column is None:
            self._tracks.append(_Track(box, np.zeros(4)))
            return self._tracks[-1]
        self._tracks[column].follow(box)
        return self._tracks[column]

    def _enlarged(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        margin = (boxes[:, 2:] - boxes[:, :2]) * self.buffer_frac
        return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)


def _centre(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return (box[:2] + box[2:]) / 2
