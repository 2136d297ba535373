"""The alignment in exact arithmetic, straight from its definition, and the golden vectors made with it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from edgeface.imaging.geometry import similarity, template, transform

HERE = Path(__file__).parent
SIZE = 48


def picture() -> np.ndarray:
    """uint8 ``[120, 161, 3]``: gradients, a disc, stripes and some noise."""
    y, x = np.mgrid[0:120, 0:161].astype(float)
    red = 255 * x / 160
    green = np.where((x - 80) ** 2 + (y - 60) ** 2 < 900, 220, 30) + 10 * np.sin(y / 2)
    blue = 127 + 120 * np.sin(x / 3) * np.cos(y / 5)
    noise = np.random.default_rng(7).normal(0, 6, (120, 161, 3))
    return np.clip(np.stack([red, green, blue], axis=-1) + noise, 0, 255).astype(np.uint8)


def faces() -> np.ndarray:
    """float32 ``[6, 5, 2]`` landmarks: template-like points at several scales, angles and places, slightly off."""
    base = template(1, 0.4, 0.5) - 0.5
    poses = [
        (30, 0, 80, 60),
        (72, 3, 80, 60),
        (144, -5, 85, 55),
        (288, 8, 80, 60),
        (60, 75, 70, 50),
        (90, -20, 150, 10),
    ]
    rng = np.random.default_rng(3)
    rows = []
    for side, degrees, x, y in poses:
        turn = math.radians(degrees)
        rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        rows.append(side * (base @ rotation.T) + [x, y] + rng.normal(0, side / 100, (5, 2)))
    return np.array(rows, np.float32)


def exact_crop(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Halve while the crop shrinks by two or more, then sample bilinearly at pixel centres, edges continued."""
    source = image.astype(float)
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    while scale * 2 <= 1 + 1e-6 and min(source.shape[:2]) >= 2:
        height, width = source.shape[0] // 2, source.shape[1] // 2
        source = np.rint(source[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean(axis=(1, 3)))
        scale, inverse = scale * 2, inverse / 2
    columns, rows = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    at = transform(inverse, np.stack([columns, rows], axis=-1)) - 0.5
    low = np.floor(at).astype(int)
    frac = (at - low)[..., None]
    limit = np.array([source.shape[1] - 1, source.shape[0] - 1])
    (x0, y0), (x1, y1) = (np.moveaxis(np.clip(low + step, 0, limit), -1, 0) for step in (0, 1))
    fx, fy = frac[..., 0, :], frac[..., 1, :]
    top = source[y0, x0] * (1 - fx) + source[y0, x1] * fx
    bottom = source[y1, x0] * (1 - fx) + source[y1, x1] * fx
    return np.clip(np.rint(top * (1 - fy) + bottom * fy), 0, 255).astype(np.uint8)


def main() -> None:
    image, landmarks, points = picture(), faces(), template(1, 0.4, 0.5)
    matrices = np.array([similarity(face, points * SIZE) for face in landmarks])
    crops = np.array([exact_crop(image, matrix, SIZE) for matrix in matrices])
    arrays = {"image": image, "landmarks": landmarks, "template": points, "matrices": matrices, "crops": crops}
    for name, array in arrays.items():
        np.save(HERE / f"{name}.npy", array)


if __name__ == "__main__":
    main()
