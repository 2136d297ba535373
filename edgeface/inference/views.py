"""Which parts of a large image a detector looks at, and how its answers become one list.

A network finds faces between about 16 and 400 px of what it is fed. A photograph of 12 megapixels fitted to one small
canvas loses every face below that; so it is looked at in several *views*: overlapping tiles at the scale at which the
smallest wanted face is just large enough, and the whole image at coarser scales for the larger faces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgeface.imaging.geometry import Letterbox, letterbox
from edgeface.imaging.postprocess import nms
from edgeface.types import Faces, Floats

SMALLEST_PX = 16  # a face's shorter side on the canvas from which the shipped detector finds it reliably
UPSCALE = 2.0  # small images are enlarged by no more than this
TILE_PX = 1280  # longest side of one canvas: bounds memory
OVERLAP_PX = 160  # of neighbouring tiles: a face up to this size lies whole in one of them
LEVEL_STEP = 4  # between scales; 16 to 160 px on one canvas are 4 to 40 px on the next
_MOST = 5000  # faces of one image
_INSIDE = 0.8  # of a box lying in a face of a coarser view: a part of that face


@dataclass(frozen=True)
class View:
    """A rectangle of the image (pixels) and how it fits the canvas; ``cut`` names its sides (left, top, right, bottom)
    that are no edge of the image."""

    x: int
    y: int
    width: int
    height: int
    fit: Letterbox
    cut: tuple[bool, bool, bool, bool]

    def whole(self, boxes: Floats) -> np.ndarray:
        """Which ``boxes`` (float32 ``[N, 4]``, pixels of the view) keep clear of the sides where the view is cut."""
        margin = 2 / self.fit.scale_x
        distances = [boxes[:, 0], boxes[:, 1], self.width - boxes[:, 2], self.height - boxes[:, 3]]
        clear = [distance > margin if cut else np.ones(len(boxes), bool) for distance, cut in zip(distances, self.cut)]
        return np.asarray(np.logical_and.reduce(clear), np.bool_)


def views(width: int, height: int, min_face: float, longest_px: int, multiple: int) -> list[list[View]]:
    """The views of a ``width``x``height`` image that together show every face from ``min_face`` pixels on.

    One list a scale, coarsest first. The first is the whole image as it is looked at without ``min_face``, or larger
    where that alone is enough.
    """
    longest = max(width, height)
    coarse = min(longest_px / longest, 1.0)
    fine = max(coarse, min(SMALLEST_PX / min_face, UPSCALE))
    if fine * longest <= max(longest_px, TILE_PX) and fine <= 2 * coarse:
        return [_level(width, height, fine, multiple)]
    scales = [fine]
    while scales[-1] / LEVEL_STEP > coarse:
        scales.append(scales[-1] / LEVEL_STEP)
    return [_level(width, height, scale, multiple) for scale in (coarse, *reversed(scales))]


def _level(width: int, height: int, scale: float, multiple: int) -> list[View]:
    """The image at one scale, in as few tiles as ``TILE_PX`` allows."""
    columns, rows = (_spans(side, TILE_PX / scale, OVERLAP_PX / scale) for side in (width, height))
    return [
        View(
            x,
            y,
            right - x,
            bottom - y,
            letterbox(right - x, bottom - y, round(max(right - x, bottom - y) * scale), multiple, math.inf),
            (x > 0, y > 0, right < width, bottom < height),
        )
        for y, bottom in rows
        for x, right in columns
    ]


def _spans(side: int, tile: float, overlap: float) -> list[tuple[int, int]]:
    """Intervals of at most ``tile`` pixels that cover 0 to ``side`` and share ``overlap`` or more."""
    if side <= tile:
        return [(0, side)]
    count = math.ceil((side - overlap) / (tile - overlap))
    length = (side + (count - 1) * overlap) / count
    starts = [round(i * (length - overlap)) for i in range(count)]
    return [(start, min(side, round(start + length))) for start in starts]


def merged(levels: list[Faces], iou: float) -> Faces:
    """Faces of every scale, coarsest first, as one list, best score first; each face once.

    What lies inside a face of a coarser scale is taken for a part of it and dropped.
    """
    kept = nms(levels[0], iou, _MOST)
    for found in levels[1:]:
        parts = _share_inside(found.boxes, kept.boxes).max(axis=1, initial=0.0) > _INSIDE
        same = _smaller_share(found.boxes, kept.boxes) > _INSIDE**2
        fresh = found[~parts | same]
        kept = nms(_joined(kept, fresh), iou, _MOST)
    return kept


def joined(parts: list[Faces]) -> Faces:
    """All faces of ``parts``, in their order."""
    result = parts[0]
    for part in parts[1:]:
        result = _joined(result, part)
    return result


def _joined(first: Faces, second: Faces) -> Faces:
    return Faces(
        np.concatenate([first.boxes, second.boxes]),
        np.concatenate([first.scores, second.scores]),
        np.concatenate([first.landmarks, second.landmarks]),
    )


def _areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1).clip(1e-6), np.float32)


def _share_inside(inner: Floats, outer: Floats) -> Floats:
    """``[N, M]``: the fraction of each inner box that lies in each outer one."""
    low = np.maximum(inner[:, None, :2], outer[None, :, :2])
    high = np.minimum(inner[:, None, 2:], outer[None, :, 2:])
    return np.asarray((high - low).clip(0).prod(axis=2) / _areas(inner)[:, None], np.float32)


def _smaller_share(inner: Floats, outer: Floats) -> np.ndarray:
    """For each inner box its area over that of the outer box it lies in most; 0 without one."""
    if not len(outer):
        return np.zeros(len(inner), np.float32)
    owner = _share_inside(inner, outer).argmax(axis=1)
    return np.asarray(_areas(inner) / _areas(outer)[owner])
