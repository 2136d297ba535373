"""Curves of one frame and of one batch: faces in a frame, size of an image, faces an inference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np

from benchmarks.resources.scaling_fit import Curve
from edgeface.api import FaceAnalyzer
from edgeface.bench.model_speed import interleaved_ms
from edgeface.errors import ConfigError
from edgeface.imaging.image_io import decode_image, read_image
from edgeface.types import Image

FRAME = (1920, 1080)
GRID = (11, 6)
"""Columns and rows of places for faces in a frame."""
_MARGIN = 1.7
"""Side of the patch around a face, in sides of its box."""
_GREY = 128
_JPEG_QUALITY = 90
_LEAST_MS = 0.01
"""What one face adds to a frame at least: on a busy machine noise may outweigh it."""
_FITTING = "shrinking to {} px looks at every pixel; OpenCV has a much faster way for exactly a half (720p)"


def face_patches(files: Sequence[Path], analyzer: FaceAnalyzer, count: int) -> list[Image]:
    """``count`` squares around the first faces found in ``files``, each uint8 ``[S, S, 3]`` RGB.

    Raises ``ConfigError`` where there are fewer.
    """
    patches = list(_patches(files, analyzer, count))
    if len(patches) < count:
        raise ConfigError(f"{count} faces are needed, found {len(patches)} in {len(files)} images: name more --data")
    return patches


def _patches(files: Sequence[Path], analyzer: FaceAnalyzer, count: int) -> Iterator[Image]:
    found = 0
    side = min(FRAME[0] // GRID[0], FRAME[1] // GRID[1])
    for file in files:
        image = read_image(file)
        faces = analyzer.detector(image)
        if len(faces) != 1 or found == count:
            continue
        x1, y1, x2, y2 = faces.boxes[0].tolist()
        reach = _MARGIN * max(x2 - x1, y2 - y1) / 2
        left, top = ((x1 + x2) / 2 - reach, (y1 + y2) / 2 - reach)
        scale = side / (2 * reach)
        matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
        yield np.asarray(cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        found += 1


def crowd(patches: Sequence[Image]) -> Image:
    """A grey frame of ``FRAME`` with one patch in each place of ``GRID``, row by row."""
    frame = np.full((FRAME[1], FRAME[0], 3), _GREY, np.uint8)
    for number, patch in enumerate(patches):
        row, column = divmod(number, GRID[0])
        top, left = row * FRAME[1] // GRID[1], column * FRAME[0] // GRID[0]
        frame[top : top + len(patch), left : left + len(patch)] = patch
    return frame


def mosaic(files: Sequence[Path], width: int, height: int) -> Image:
    """Whole photographs side by side at their own size, cut off at the edges, over again where they run out."""
    canvas = np.full((height, width, 3), _GREY, np.uint8)
    pictures = cycle(files)
    top = 0
    while top < height:
        left, tallest = 0, 1
        while left < width:
            picture = read_image(next(pictures))[: height - top, : width - left]
            canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            left, tallest = left + picture.shape[1], max(tallest, picture.shape[0])
        top += tallest
    return canvas


def faces_curve(files: Sequence[Path], analyzer: FaceAnalyzer, counts: Sequence[int], seconds: float) -> Curve:
    """What the faces of a frame cost beyond a frame without any."""
    patches = face_patches(files, analyzer, max(counts))
    frames = [crowd(patches[:count]) for count in (0, *counts)]
    found = [len(analyzer(frame)) for frame in frames[1:]]
    calls: list[Callable[[], object]] = [lambda frame=frame: analyzer(frame) for frame in frames]  # type: ignore[misc]
    empty, *whole = _medians(calls, seconds)
    return Curve(
        name="faces in a frame",
        x_label="faces found in a frame of 1920×1080",
        y_label="ms beyond an empty frame",
        expected=1.0,
        why="each face is cut out and answered once; the frame is halved for the crops once, for anyone who is first",
        x=tuple(map(float, found)),
        y=tuple(max(time_ms - empty, _LEAST_MS) for time_ms in whole),
        notes={"whole frame, ms": [round(time_ms, 3) for time_ms in whole], "faces shown": list(counts)},
    )


def size_curves(files: Sequence[Path], analyzer: FaceAnalyzer, heights: Sequence[int], seconds: float) -> list[Curve]:
    """Decoding a JPEG, shrinking it to the detector's canvas, and the detector's network, by size of the image."""
    largest = mosaic(files, _width(max(heights)), max(heights))
    sizes = [(_width(height), height) for height in heights]
    pictures = [np.asarray(cv2.resize(largest, size, interpolation=cv2.INTER_AREA), np.uint8) for size in sizes]
    jpegs = [_jpeg(picture) for picture in pictures]
    detector = analyzer.detector
    feeds = [detector.encoded(picture) for picture in pictures]
    times = [
        _medians([lambda jpeg=jpeg: decode_image(jpeg) for jpeg in jpegs], seconds),  # type: ignore[misc]
        _medians([lambda picture=picture: detector.encoded(picture) for picture in pictures], seconds),  # type: ignore[misc]
        _medians([lambda feed=feed: detector.backend.infer(feed) for feed in feeds], seconds),  # type: ignore[misc]
    ]
    megapixels = tuple(width * height / 1e6 for width, height in sizes)
    longest = detector.longest_px
    full = min(x for x, (width, _) in zip(megapixels, sizes) if width >= longest)
    shrinks = min(x for x, (width, _) in zip(megapixels, sizes) if width > longest)
    told = (
        ("decoding a JPEG", 1.0, "every pixel is decoded", 0.0),
        ("fitting to the detector's canvas", 1.0, _FITTING.format(longest), shrinks),
        ("the detector's network", 0.0, f"its canvas has at most {longest} px, whatever the image's size", full),
    )
    notes = {"height, px": list(heights)}
    return [
        Curve(name, "megapixels", "ms", expected, why, megapixels, tuple(values), start, notes)
        for (name, expected, why, start), values in zip(told, times)
    ]


def batch_curve(files: Sequence[Path], analyzer: FaceAnalyzer, batches: Sequence[int], seconds: float) -> Curve:
    """One inference of the attribute network on many crops."""
    estimator = analyzer.attributes
    size, name = estimator.spec.input_size, estimator.backend.inputs[0].name
    patches = face_patches(files, analyzer, min(16, max(batches)))
    crops = [np.asarray(cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA), np.uint8) for patch in patches]
    feeds = [{name: np.stack([crops[row % len(crops)] for row in range(batch)])} for batch in batches]
    times = _medians([lambda feed=feed: estimator.backend.infer(feed) for feed in feeds], seconds)  # type: ignore[misc]
    return Curve(
        name="faces an inference",
        x_label="batch",
        y_label="ms an inference",
        expected=1.0,
        why="every face costs the same arithmetic; what a call costs in itself makes small batches dearer",
        x=tuple(map(float, batches)),
        y=tuple(times),
        notes={"ms a face": [round(time / batch, 4) for time, batch in zip(times, batches)]},
    )


def _medians(calls: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """Milliseconds of each call: the median over interleaved rounds of the fastest in each."""
    rounds = interleaved_ms(calls, seconds)
    return [float(np.median([part.min() for part in parts])) for parts in rounds]


def _width(height: int) -> int:
    """Of a 16:9 image, even."""
    return 2 * math.ceil(height * 8 / 9)


def _jpeg(picture: Image) -> bytes:
    encoded, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    assert encoded
    return data.tobytes()
