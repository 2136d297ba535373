"""Putting one image into another so that the seam says nothing, and a camera's faults."""

from __future__ import annotations

import cv2
import numpy as np

from edgeface.types import Image
from trainer.detector.marked import Marked, moved

Rng = np.random.Generator


def log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def tilt(rng: Rng) -> float:
    """Degrees by which a head leans: little for most, a lot for some."""
    return rng.normal(0, 10) if rng.random() < 0.65 else rng.uniform(-55, 55)


def scramble(patch: Image, rng: Rng) -> Image:
    """The patch's quarters in another order."""
    half = min(patch.shape[:2]) // 2
    parts = [patch[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    parts = [parts[index] for index in rng.permutation(4)]
    return np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])])


def paste(canvas: Marked, patch: Marked, side: float, centre: np.ndarray, rng: Rng) -> None:
    """Blend ``patch`` into ``canvas`` around ``centre``, ``side`` pixels wide: turned, skewed, lit alike, feathered."""
    side = max(8.0, side)
    box = int(np.ceil(side * 1.5))
    x, y = (int(round(c - box / 2)) for c in centre)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + box, canvas.image.shape[1]), min(y + box, canvas.image.shape[0])
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    if side < 0.7 * patch.image.shape[0]:
        patch = patch.resized(int(side), int(side))
    height, width = patch.image.shape[:2]
    mask = feather(height, width, rng)
    matrix = perspective(width, height, side, box, rng)
    turned = cv2.warpPerspective(patch.image, matrix, (box, box), borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpPerspective(mask, matrix, (box, box))
    window = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
    under, over = canvas.image[y0:y1, x0:x1].astype(np.float32), turned[window].astype(np.float32)
    if rng.random() < 0.7:  # meet the surroundings' light part of the way
        gain = (np.array(cv2.mean(under)[:3]) + 20) / (np.array(cv2.mean(over)[:3]) + 20)
        over *= (np.clip(gain, 0.4, 1.6) ** rng.uniform(0.1, 0.7)).astype(np.float32)
    alpha = mask[window][:, :, None]
    canvas.image[y0:y1, x0:x1] = np.clip(under + (over - under) * alpha, 0, 255).astype(np.uint8)
    canvas.cover(np.array([x + box / 2, y + box / 2]), 0.4 * side)
    canvas.add(moved(patch.marks, matrix) + np.array([x, y], np.float32))


def perspective(width: int, height: int, side: float, box: int, rng: Rng) -> np.ndarray:
    """Map a patch onto the middle of a ``box``: turned (seldom much), squeezed, its corners pulled."""
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    unit = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * [rng.uniform(0.85, 1.05), 1.0]
    unit += rng.uniform(-0.06, 0.06, (4, 2))
    angle = np.deg2rad(tilt(rng))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return cv2.getPerspectiveTransform(corners, (unit @ turn * side + box / 2).astype(np.float32))


def feather(height: int, width: int, rng: Rng) -> np.ndarray:
    """A mask float32 ``[height, width]`` 0...1: an ellipse or a square, its edge soft over a random width."""
    x = (np.arange(width, dtype=np.float32) + 0.5) * 2 / width - 1
    y = (np.arange(height, dtype=np.float32) + 0.5) * 2 / height - 1
    if rng.random() < 0.55:
        distance = np.hypot(x[None] / rng.uniform(0.75, 1.0), y[:, None] / rng.uniform(0.9, 1.05))
    else:
        distance = np.maximum(np.abs(x)[None], np.abs(y)[:, None])
    return np.clip((1.0 - distance) / rng.uniform(0.02, 0.35), 0, 1).astype(np.float32)


def degrade(picture: Image, rng: Rng) -> Image:
    """A camera's faults: light, colour, blur, low resolution, noise, JPEG."""
    if rng.random() < 0.6:
        tone = np.arange(256, dtype=np.float32)[:, None] / 255
        gain = rng.uniform(0.55, 1.35) * rng.uniform(0.88, 1.12, 3)
        tone = tone ** np.exp(rng.normal(0, 0.3)) * gain + rng.normal(0, 0.05)
        if rng.random() < 0.3:  # haze: little contrast, as behind glass or in a dim hall
            tone = rng.uniform(0.0, 0.4) + tone * rng.uniform(0.3, 0.7)
        table = np.clip(tone * 255, 0, 255).astype(np.uint8)
        picture = _pixels(cv2.LUT(picture, table[:, None, :]))
    if rng.random() < 0.07:
        picture = _pixels(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
    if rng.random() < 0.2:
        picture = _pixels(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.6)))
    if rng.random() < 0.2:
        small = cv2.resize(picture, None, fx=(f := rng.uniform(0.4, 0.9)), fy=f, interpolation=cv2.INTER_AREA)
        picture = _pixels(cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR))
    if rng.random() < 0.2:
        noise = rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(2, 14))
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))]
        encoded = cv2.imencode(".jpg", picture[:, :, ::-1], quality)[1]
        picture = _pixels(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[:, :, ::-1]
    return np.ascontiguousarray(picture)


def _pixels(array: object) -> Image:
    """OpenCV's answer, whose element type its stubs leave open."""
    return np.asarray(array, np.uint8)
