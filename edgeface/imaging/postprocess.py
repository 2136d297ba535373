"""From a detector's raw maps to faces: anchors, decoding and non-maximum suppression. Pure NumPy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgeface.types import Faces, Floats

_CANVASES = 16
"""Sizes of canvas whose anchors are kept: a stream has one; 640×640 has 8,400 anchors of 12 bytes."""


def anchors(width: int, height: int, strides: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Anchor centres float32 ``[A, 2]`` in pixels and their strides float32 ``[A]`` of a ``width``×``height`` canvas.

    Strides in the order given, each map row by row; the cell of row i and column j has its anchor at
    ``((j + 0.5) * stride, (i + 0.5) * stride)``. The arrays are the caller's own.
    """
    points, steps = kept_anchors(width, height, strides)
    return points.copy(), steps.copy()


@lru_cache(maxsize=_CANVASES)
def kept_anchors(width: int, height: int, strides: tuple[int, ...]) -> tuple[Floats, Floats]:
    """As ``anchors``, computed once for each canvas: everybody's arrays, hence read-only."""
    points, steps = [], []
    for stride in strides:
        columns, rows = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
        points.append((np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5) * stride)
        steps.append(np.full(len(points[-1]), stride))
    every = np.concatenate(points).astype(np.float32), np.concatenate(steps).astype(np.float32)
    for array in every:
        array.flags.writeable = False
    return every


def decode_detector(
    score: Floats,
    box: Floats,
    landmarks: Floats,
    canvas: tuple[int, int],
    strides: tuple[int, ...],
    threshold: float,
) -> Faces:
    """Candidates of one image at or above ``threshold``, best first, in canvas pixels, before suppression.

    ``score`` float32 ``[A]``; ``box`` float32 ``[A, 4]`` distances left, top, right, bottom from the anchor and
    ``landmarks`` float32 ``[A, 10]`` offsets from it, both in strides; ``canvas`` is ``(width, height)`` in pixels.
    """
    picked = np.flatnonzero(score >= threshold)
    picked = picked[np.argsort(-score[picked], kind="stable")]
    points, steps = kept_anchors(*canvas, strides)
    points, steps = points[picked], steps[picked, None]
    reach = box[picked] * steps
    boxes = np.concatenate([points - reach[:, :2], points + reach[:, 2:]], axis=1)
    marks = points[:, None, :] + landmarks[picked].reshape(-1, 5, 2) * steps[:, None]
    return Faces(boxes, score[picked], marks)


def iou_matrix(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of every pair of xyxy boxes: ``[N, 4]``, ``[M, 4]`` → float64 ``[N, M]``.

    Two boxes without area have 0 in common.
    """
    a, b = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    overlap = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(axis=-1)
    area_a, area_b = ((np.clip(x[..., 2:] - x[..., :2], 0, None)).prod(axis=-1) for x in (a, b))
    union = area_a + area_b - overlap
    shared: NDArray[np.float64] = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return shared


def nms(faces: Faces, iou_threshold: float, limit: int = 1000) -> Faces:
    """Greedy non-maximum suppression: best first, drop faces that overlap a kept one by more than ``iou_threshold``.

    Ties keep the earlier row, so equal scores answer the same everywhere. Only the best ``limit`` candidates count.
    """
    order = np.argsort(-faces.scores, kind="stable")[:limit]
    overlaps = iou_matrix(faces.boxes[order], faces.boxes[order]) > iou_threshold
    keep = np.ones(len(order), bool)
    for row in range(len(order)):
        if keep[row]:
            keep[row + 1 :] &= ~overlaps[row, row + 1 :]
    return faces[order[keep]]
