"""A sample clip made at runtime from two public-domain portraits (``assets/photos/CREDITS.md``).

The portraits hang side by side and a camera moves over them: close to the first, back to both, close to the second.
Faces so move, change size, enter and leave as they do in a real video.
"""

from __future__ import annotations

import os

from edgeface.imaging.portraits import demo_frames
from edgeface.inference.result import FrameResult
from edgeface.sinks.video import VideoSink


def make_demo_clip(
    path: str | os.PathLike[str], seconds: float = 6.0, size: tuple[int, int] = (640, 360), fps: float = 25.0
) -> None:
    """Write the clip to a .mp4, .mkv or .mov file; ``size`` is (width, height) in pixels.

    Raises ``SinkError`` where it cannot be written.
    """
    with VideoSink(path) as sink:
        for frame in demo_frames(seconds, size, fps):
            sink.append(FrameResult(frame, ()))
