"""The reality gap: the same faces seen through six causes of trouble, each at three strengths.

Images of data sets are bright, sharp, upright and cut with care; a camera's are not. Each cause distorts aligned
crops, so the labels stay true and a drop in accuracy is the cause's doing. The same crop is distorted the same way
every time and for every network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.uint8]

STRENGTHS = (1, 2, 3)

CAUSES: dict[str, tuple[Callable[[Crop, float, np.random.Generator], Crop], tuple[float, float, float], str]]
"""Name → what it does to a crop, how much at strengths 1, 2 and 3, and the unit of that."""


def distorted(crops: NDArray[np.uint8], cause: str, strength: int) -> NDArray[np.uint8]:
    """Crops uint8 ``[N, S, S, 3]`` RGB as ``cause`` (a name of ``CAUSES``) at ``strength`` 1 to 3 leaves them."""
    act, amounts, _ = CAUSES[cause]
    amount = amounts[STRENGTHS.index(strength)]
    out = np.empty_like(crops)
    for row, crop in enumerate(crops):
        out[row] = act(crop, amount, np.random.default_rng(row))
    return out


def _blur(crop: Crop, amount: float, rng: np.random.Generator) -> Crop:
    """Out of focus: a Gaussian whose sigma is ``amount`` % of the side."""
    import cv2

    return np.asarray(cv2.GaussianBlur(crop, (0, 0), amount / 100 * len(crop)), np.uint8)


def _low_light(crop: Crop, amount: float, rng: np.random.Generator) -> Crop:
    """``amount`` times as much light, and the noise of few photons: the standard deviation of a full pixel's count of
    1000 at full light (Poisson, nearly normal)."""
    light = crop.astype(np.float32) / 255 * amount
    noise = rng.standard_normal(crop.shape, dtype=np.float32) * np.sqrt(light / 1000 + 1e-5)
    return np.asarray(np.clip((light + noise) * 255, 0, 255).round(), np.uint8)


def _low_resolution(crop: Crop, amount: float, rng: np.random.Generator) -> Crop:
    """A face of only ``amount`` pixels, enlarged."""
    import cv2

    side = len(crop)
    small = cv2.resize(crop, (int(amount), int(amount)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def _rotation(crop: Crop, amount: float, rng: np.random.Generator) -> Crop:
    """Turned by ``amount`` degrees to a random side, as when eyes are found wrongly or not at all."""
    return _warped(crop, amount * rng.choice((-1, 1)), 1.0, (0.0, 0.0))


def _occlusion(crop: Crop, amount: float, rng: np.random.Generator) -> Crop:
    """A grey rectangle over ``amount`` % of the crop: its eyes, its mouth or one side (glasses, mask, hand)."""
    side, share = len(crop), amount / 100
    out: Crop = crop.copy()
    place = rng.integers(3)
    long, short = int(round(0.8 * side)), int(round(share / 0.8 * side))
    margin = (side - long) // 2
    grey = np.uint8(rng.integers(30, 200))
    if place == 2:
        first = margin if rng.random() < 0.5 else side - margin - short
        out[margin : margin + long, first : first + short] = grey
    else:
        middle = int((0.38, 0.74)[place] * side)
        out[max(0, middle - short // 2) : middle - short // 2 + short, margin : margin + long] = grey
    return out


def _framing(crop: Crop, amount: float, rng: np.random.Generator) -> Crop:
    """Shifted by up to ``amount`` % of the side and larger or smaller by as much: another detector, another crop."""
    share = amount / 100
    angle = rng.uniform(0, 2 * np.pi)
    shift = (share * np.cos(angle), share * np.sin(angle))
    return _warped(crop, 0.0, float(np.exp(share * rng.choice((-1, 1)))), shift)


def _warped(crop: Crop, degrees: float, scale: float, shift: tuple[float, float]) -> Crop:
    """Turned and scaled about the centre, then shifted by fractions of the side; edge pixels continue outside."""
    import cv2

    side = len(crop)
    centre = ((side - 1) / 2, (side - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, degrees, scale)
    matrix[:, 2] += np.array(shift) * side
    return np.asarray(cv2.warpAffine(crop, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)


CAUSES = {
    "blur": (_blur, (1.5, 3.0, 5.0), "sigma, % of the side"),
    "low light": (_low_light, (0.4, 0.15, 0.06), "of the light"),
    "low resolution": (_low_resolution, (40.0, 24.0, 14.0), "pixels a side"),
    "rotation": (_rotation, (10.0, 20.0, 35.0), "degrees"),
    "occlusion": (_occlusion, (8.0, 16.0, 28.0), "% of the crop"),
    "framing": (_framing, (6.0, 12.0, 20.0), "% shift and scale"),
}
