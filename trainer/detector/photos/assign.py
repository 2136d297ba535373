"""Which cells of the network learn which face."""

from __future__ import annotations

import numpy as np

from edgeface.imaging.postprocess import anchors
from edgeface.types import Floats
from trainer.detector.teacher import STRIDES, Targets

_SIZES = ((0.0, 56.0), (40.0, 128.0), (96.0, 1e9))  # which face sizes each stride learns
_FADE = 1.35  # beyond its sizes by this factor a stride may answer or not
_POSITIVE, _NEUTRAL = 0.2, 0.45  # of a face's size around its middle: learnt as face; learnt as nothing


def assign(boxes: Floats, scores: Floats, marks: Floats, width: int, height: int) -> Targets:
    """What every cell learns: the cells around a face's middle, at the strides that see its size, are face.

    Between the middle and the face's rim, at neighbouring sizes, and on faces that count neither way nothing is learnt.
    """
    points, strides = anchors(width, height, STRIDES)
    count = len(points)
    target, care = np.zeros(count, np.float32), np.ones(count, np.float32)
    weights, mark_weights = np.zeros(count, np.float32), np.zeros(count, np.float32)
    goal, goal_marks = np.zeros((count, 4), np.float32), np.zeros((count, 10), np.float32)
    best = np.full(count, np.inf, np.float32)
    low, high = (np.array([dict(zip(STRIDES, _SIZES))[int(s)][end] for s in strides]) for end in (0, 1))
    for box, score, mark in zip(boxes, scores, marks):
        size = float(np.sqrt(max(1.0, (box[2] - box[0]) * (box[3] - box[1]))))
        middle = (box[:2] + box[2:]) / 2
        distance = np.linalg.norm((points - middle) / ((box[2:] - box[:2]) / size), axis=1)
        near = distance < np.maximum(_NEUTRAL * size, 0.9 * strides)
        fades = (size >= low / _FADE) & (size <= high * _FADE)
        fits = (size >= low) & (size <= high)
        core = fits & (distance <= np.maximum(_POSITIVE * size, 0.71 * strides))
        if score <= 0:
            care[near & (target == 0)] = 0
            continue
        care[near & (fades | (distance < 0.3 * size)) & (target == 0)] = 0
        mine = core & (distance / size < best)
        quality = 1 - 0.3 * np.clip(distance / np.maximum(_POSITIVE * size, strides), 0, 1) ** 2
        best[mine] = (distance / size)[mine]
        care[mine], target[mine] = 1.0, (score * quality)[mine]
        weights[mine], goal[mine] = (score * quality)[mine], box
        known = bool(np.isfinite(mark).all())
        mark_weights[mine] = weights[mine] * known
        goal_marks[mine] = mark.reshape(10) if known else 0.0
    return Targets(target, goal, goal_marks, weights, mark_weights, care)
