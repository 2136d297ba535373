"""Other ways from an image and five landmarks to aligned crops, and from an image to a detector's canvas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import required
from edgeface.imaging.geometry import invert, similarity
from edgeface.imaging.preprocess import template_px
from edgeface.spec.model import AlignmentSpec
from edgeface.types import Floats, Image

Align = Callable[[Image, Floats, AlignmentSpec, int], NDArray[Any]]


def opencv(picture: Image, landmarks: Floats, alignment: AlignmentSpec, size: int) -> NDArray[Any]:
    """What most toolkits do: a least-squares transform, then one bilinear warp however much it shrinks."""
    import cv2

    target = template_px(alignment, size).astype(np.float32)
    matrices = [cv2.estimateAffinePartial2D(points, target, method=cv2.LMEDS)[0] for points in landmarks]
    return np.stack([cv2.warpAffine(picture, matrix, (size, size)) for matrix in matrices])


def pillow(picture: Image, landmarks: Floats, alignment: AlignmentSpec, size: int) -> NDArray[Any]:
    """Our transforms, sampled by Pillow."""
    module = required("PIL.Image", "pillow")
    target, image = template_px(alignment, size), module.fromarray(picture)
    crops = []
    for points in landmarks:
        inverse = invert(similarity(points, target)).ravel().tolist()
        crops.append(
            np.asarray(image.transform((size, size), module.Transform.AFFINE, inverse, module.Resampling.BILINEAR))
        )
    return np.stack(crops)


def torch_grid(picture: Image, landmarks: Floats, alignment: AlignmentSpec, size: int) -> NDArray[Any]:
    """Our transforms, sampled by PyTorch's ``grid_sample``, all faces at once."""
    torch = required("torch")
    torch.set_num_threads(1)
    height, width = picture.shape[:2]
    target = template_px(alignment, size)
    inverses = np.stack([invert(similarity(points, target)) for points in landmarks]).astype(np.float32)
    axis = torch.arange(size) + 0.5
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)
    places = points.reshape(1, -1, 3) @ torch.from_numpy(inverses).transpose(1, 2)
    grid = (2 * places / torch.tensor([width, height]) - 1).reshape(-1, size, size, 2)
    planes = torch.from_numpy(picture).permute(2, 0, 1).float()[None].expand(len(landmarks), -1, -1, -1)
    crops = torch.nn.functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return np.asarray(crops.permute(0, 2, 3, 1).round().byte().numpy())


ALIGNMENTS: dict[str, Align] = {
    "OpenCV, one warp": opencv,
    "Pillow, one warp": pillow,
    "PyTorch, grid_sample": torch_grid,
}
"""By the name in tables."""


def canvas_opencv(picture: Image, width: int, height: int) -> Image:
    """Bilinear, aliasing where it shrinks."""
    import cv2

    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def canvas_pillow(picture: Image, width: int, height: int) -> Image:
    """Pillow's bilinear, which averages where it shrinks."""
    module = required("PIL.Image", "pillow")
    return np.asarray(module.fromarray(picture).resize((width, height), module.Resampling.BILINEAR))


CANVASES: dict[str, Callable[[Image, int, int], Image]] = {
    "OpenCV, bilinear (aliases)": canvas_opencv,
    "Pillow, bilinear": canvas_pillow,
}
"""By the name in tables."""
