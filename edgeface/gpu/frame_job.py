"""What the GPU is given to do at once: images that are answered together."""

from __future__ import annotations

from dataclasses import dataclass

from edgeface.gpu.device_frame import DeviceFrame
from edgeface.gpu.frame_buffers import FrameBuffer, Size
from edgeface.gpu.graph_cache import Key
from edgeface.gpu.stages import DetectorStage
from edgeface.types import Image

Picture = Image | DeviceFrame


@dataclass(frozen=True)
class FrameJob:
    """Images to be answered together, in RGB on the GPU: each its seat and its number in the result block.

    With a ``detector`` it finds the faces; all jobs answer ``bucket`` faces of each image from the ``first`` on.
    """

    pictures: tuple[DeviceFrame, ...]
    seats: tuple[FrameBuffer, ...]
    numbers: tuple[int, ...]
    detector: DetectorStage | None
    first: int
    bucket: int

    @property
    def key(self) -> Key:
        """Jobs of the same key queue the very same work on the same memory."""
        places = tuple((picture.address, picture.stride) for picture in self.pictures)
        canvas = self.detector.canvas(0) if self.detector else 0
        return self.numbers, places, tuple(seat.stages.picture for seat in self.seats), canvas, self.first, self.bucket


def size_of(picture: Picture) -> Size:
    """Width and height in pixels."""
    if isinstance(picture, DeviceFrame):
        return picture.width, picture.height
    return int(picture.shape[1]), int(picture.shape[0])
