"""A ring of pinned frames: where decoders write and the GPU reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeface.cuda.context import Context, PinnedBuffer
from edgeface.types import Image


class FrameRing:
    """Pinned memory for some frames of one size, mapped into the GPU where host and GPU share their memory."""

    def __init__(self, context: Context, width: int, height: int, slots: int) -> None:
        size = 3 * width * height
        self._slots = [PinnedBuffer(context, size, mapped=context.shares_memory) for _ in range(slots)]
        self._views = [slot.array[:size].reshape(height, width, 3) for slot in self._slots]
        self._next = 0

    def next_slot(self) -> NDArray[np.uint8]:
        """The slot that was handed out longest ago: uint8 ``[H, W, 3]``."""
        view = self._views[self._next]
        self._next = (self._next + 1) % len(self._slots)
        return view

    def filled(self, image: Image) -> PinnedBuffer:
        """The slot that holds ``image``: its own where it was written into one, else the next, copied."""
        for slot, view in zip(self._slots, self._views):
            if image.ctypes.data == view.ctypes.data and image.strides == view.strides:
                return slot
        number = self._next
        self.next_slot()[...] = image
        return self._slots[number]

    def close(self) -> None:
        """Free the memory; its views must not be used any more."""
        self._views.clear()
        while self._slots:
            self._slots.pop().free()
