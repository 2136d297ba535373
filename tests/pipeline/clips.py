"""Clips and results made on the spot."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from edgeface.inference.result import Face, FrameResult
from edgeface.types import Frame, Image


def write_clip(
    path: Path, frames: list[Image], times: list[float] | None = None, codec: str = "libx264", sound: bool = False
) -> Path:
    """Encode ``frames`` at ``times`` in seconds (25 a second by default); mp4 files get their index in front."""
    options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000 if times else 25)
        if sound:
            _add_silence(container)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = round(1000 * times[index]) if times else index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _add_silence(container: object) -> None:
    stream = container.add_stream("aac", rate=8000, layout="mono")
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 8000, 0
    container.mux([*stream.encode(frame), *stream.encode(None)])


def moving(count: int, width: int = 96, height: int = 64) -> list[Image]:
    """Frames of coarse noise that rolls to the right, so that every frame costs bytes."""
    noise = np.random.default_rng(0).integers(0, 255, (height // 4, width // 4, 3), dtype=np.uint8)
    first = np.kron(noise, np.ones((4, 4, 1), np.uint8))
    return [np.roll(first, 3 * index, axis=1) for index in range(count)]


def quarters(width: int = 96, height: int = 64) -> Image:
    """White in the top-left quarter, black elsewhere."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = 255
    return pixels


def a_face(
    box: tuple[float, float, float, float] = (8, 8, 40, 40), track: int | None = None, **changes: object
) -> Face:
    x, y = box[0] + 1, box[1] + 1
    values = {
        "box": box,
        "score": 0.9,
        "landmarks": tuple((x + i, y + i) for i in range(5)),
        "track": track,
        "age": 34.4,
        "age_std": 5.6,
        "gender": "female",
        "gender_confidence": 0.97,
        "race": "White",
        "race_confidence": 0.92,
    }
    return Face(**{**values, **changes})


def result(
    pixels: Image, index: int = 0, pts_s: float | None = None, faces: int = 1, source: str = "clip.mp4"
) -> FrameResult:
    return FrameResult(Frame(pixels, pts_s, source, index), tuple(a_face(track=i + 1) for i in range(faces)))
