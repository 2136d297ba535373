"""A batch's augmentation carried out: by OpenCV crop for crop on the CPU, by a few batched operators on a GPU.

Both do the same: move, light, low resolution, blur, erase. They differ by rounding between the steps, by how the edge
is continued and by the filter that shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_GREY = 127
_RADIUS = 4
"""Of a blur, in pixels."""


@dataclass(frozen=True)
class Plan:
    """What is done to each of N crops, tensors on the host; ``mixing`` ``None``: they are only moved.

    ``look`` float32 ``[N, 2, 3]``: affine maps from places of the output to places looked at, both from -1 to 1 across
    a crop; its edge pixels continue outside. ``mixing`` ``[N, 3, 3]`` and ``lift`` ``[N, 3]``: a colour becomes
    ``mixing @ colour + lift @ mean colour of the crop``. ``small_side`` int ``[N]``: the crop is shrunk to this side
    and enlarged again, as a distant face would arrive; 0: not. ``sigma`` ``[N]``: Gaussian blur in pixels; 0: none.
    ``erased`` int ``[N, 4]``: top, bottom, left and right end of a rectangle painted grey, empty where they are 0.
    """

    look: Tensor
    mixing: Tensor | None = None
    lift: Tensor | None = None
    small_side: Tensor | None = None
    sigma: Tensor | None = None
    erased: Tensor | None = None

    def light(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None:
        """All that changes colours, or ``None``."""
        parts = (self.mixing, self.lift, self.small_side, self.sigma, self.erased)
        return None if any(part is None for part in parts) else parts  # type: ignore[return-value]


def with_opencv(crops: Tensor, plan: Plan) -> Tensor:
    """Crops uint8 ``[N, S, S, C]`` on the CPU as ``plan`` asks."""
    import cv2

    side, light = crops.shape[1], plan.light()
    matrices = plan.look.double().numpy().copy()
    centre = (side - 1) / 2  # OpenCV counts pixel centres from 0
    matrices[:, :, 2] = matrices[:, :, 2] * side / 2 + centre - matrices[:, :, :2] @ [centre, centre]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = np.empty_like(crops.numpy())
    for seen, crop, matrix in zip(out, crops.numpy(), matrices):
        cv2.warpAffine(crop, matrix, (side, side), dst=seen, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if light is not None:
        for seen, mixing, lift, small_side, sigma, erased in zip(out, *(part.numpy() for part in light)):
            seen[..., :3] = _lit(np.ascontiguousarray(seen[..., :3]), mixing, lift, int(small_side), float(sigma))
            seen[erased[0] : erased[1], erased[2] : erased[3], :3] = _GREY
    return torch.from_numpy(out)


def _lit(
    picture: NDArray[np.uint8], mixing: NDArray[np.float32], lift: NDArray[np.float32], small_side: int, sigma: float
) -> NDArray[np.uint8]:
    """One crop uint8 ``[S, S, 3]`` in another light, at a lower resolution, blurred."""
    import cv2

    mean = float(lift @ np.array(cv2.mean(picture)[:3]))
    seen = cv2.transform(picture, np.concatenate([mixing, np.full((3, 1), mean, np.float32)], axis=1))
    if small_side:
        small = cv2.resize(seen, (small_side, small_side), interpolation=cv2.INTER_AREA)
        seen = cv2.resize(small, picture.shape[:2], interpolation=cv2.INTER_LINEAR)
    if sigma:
        size = 2 * _RADIUS + 1
        seen = cv2.GaussianBlur(seen, (size, size), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(seen, np.uint8)


def with_torch(crops: Tensor, plan: Plan) -> Tensor:
    """Crops uint8 ``[N, S, S, C]`` on any device as ``plan`` asks."""
    device, light = crops.device, plan.light()
    grid = F.affine_grid(plan.look.to(device, non_blocking=True), [len(crops), 1, *crops.shape[1:3]], False)
    seen = F.grid_sample(crops.permute(0, 3, 1, 2).float(), grid, padding_mode="border", align_corners=False)
    if light is None:
        return to_bytes(seen)
    mixing, lift, small_side, sigma, erased = light
    picture = seen[:, :3]
    mean = (lift.to(device, non_blocking=True) * picture.mean((2, 3))).sum(1)
    picture = torch.baddbmm(mean[:, None, None], mixing.to(device, non_blocking=True), picture.flatten(2))
    picture = picture.view(len(crops), 3, *crops.shape[1:3]).clamp_(0, 255)
    for side in sorted(set(small_side.tolist()) - {0}):
        rows = (small_side == side).nonzero().flatten().to(device)
        small = F.interpolate(picture[rows], (side, side), mode="bilinear", antialias=True)
        picture[rows] = F.interpolate(small, picture.shape[2:], mode="bilinear")
    _blur(picture, sigma)
    for row, (top, bottom, left, right) in enumerate(erased.tolist()):
        if bottom:
            picture[row, :, top:bottom, left:right] = _GREY
    return to_bytes(torch.cat([picture, seen[:, 3:]], 1))


def _blur(picture: Tensor, sigma: Tensor) -> None:
    """Blur the crops ``[N, 3, S, S]`` whose ``sigma`` is above 0, in place: along columns, then along rows."""
    rows = sigma.nonzero().flatten()
    if not len(rows):
        return
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float32)
    weights = torch.softmax(-0.5 * (offsets / sigma[rows, None]).square(), 1).repeat_interleave(3, 0)
    weights = weights.to(picture.device, non_blocking=True)
    rows = rows.to(picture.device)
    side = picture.shape[-1]
    flat = F.pad(picture[rows], (_RADIUS,) * 4, mode="replicate").flatten(0, 1)[None]
    flat = F.conv2d(flat, weights[:, None, :, None], groups=len(weights))
    flat = F.conv2d(flat, weights[:, None, None, :], groups=len(weights))
    picture[rows] = flat.view(len(rows), 3, side, side)


def to_bytes(picture: Tensor) -> Tensor:
    """float ``[N, C, S, S]`` in 0…255 (and somewhat outside) → uint8 ``[N, S, S, C]``, rounded."""
    return (picture + 0.5).clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
