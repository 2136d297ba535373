"""Hard cuts: where one shot ends and another begins, no one is followed from the one to the other."""

from __future__ import annotations

import numpy as np

from edgeface.types import Floats, Image

_SIDE_PX = 16
_ALIKE = 0.5
"""Correlation of the thumbnails of two frames of one shot; movement and exposure leave it above 0.9."""
_FLAT = 2.0
"""A thumbnail with less contrast than this, in grey levels, says nothing: a covered lens, black between two shots."""


class ShotDetector:
    """Whether a frame begins a new shot: its coarse grey thumbnail correlates little with that of the frame before."""

    def __init__(self) -> None:
        self._last: Floats | None = None

    def __call__(self, image: Image) -> bool:
        """Take the next frame, uint8 ``[H, W, 3]`` RGB."""
        import cv2

        small = cv2.resize(image, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32).mean(axis=2)
        centred = small - small.mean()
        if float(centred.std()) < _FLAT:
            return False  # what comes after it is compared with what was before
        thumb = np.asarray(centred / np.linalg.norm(centred), np.float32)
        last, self._last = self._last, thumb
        return last is not None and float((last * thumb).sum()) < _ALIKE
