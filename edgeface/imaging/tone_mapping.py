"""HDR images and frames (PQ, HLG) as what a screen of standard range shows, which is what the networks were trained on.

Luminance above what such a screen has is compressed by the curve of Report ITU-R BT.2390 (section 5.4.1, EETF), on the
largest of the three channels so that hues stay; the gamut is mapped by Recommendation BT.2087. A screen's white is
BT.2408's 203 cd/m², the source's peak is taken for 1000 cd/m², which is what most HDR is graded for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeface.types import Floats, Image

PQ, HLG = 16, 18
"""Transfer characteristics of ITU-T H.273: SMPTE ST 2084, ARIB STD-B67."""
HDR = (PQ, HLG)
_BT709, _P3 = 1, 12
_PEAK, _WHITE = 1000.0, 203.0
_GAMMA = 2.4
"""BT.1886: what the result is shown with."""
_TO_BT709 = {
    "bt2020": ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    "p3": ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
}


def to_standard_range(pixels: NDArray[np.uint16], transfer: int, primaries: int = 9, white: int = 65535) -> Image:
    """uint8 ``[H, W, 3]`` RGB of an HDR image uint16 ``[H, W, 3]`` RGB whose full scale is ``white``.

    ``transfer`` is one of ``HDR``, ``primaries`` H.273's number (1: BT.709, 12: P3; any other is taken for BT.2020).
    """
    import cv2

    tables = _tables(transfer, white)
    codes = np.minimum(pixels, white)
    brightest = np.maximum(np.maximum(codes[..., 0], codes[..., 1]), codes[..., 2])
    linear = tables.linear[codes]
    linear *= tables.gain[brightest][..., None]
    if primaries != _BT709:
        matrix = np.array(_TO_BT709["p3" if primaries == _P3 else "bt2020"], np.float32)
        linear = np.asarray(cv2.transform(linear, matrix), np.float32)
    np.clip(linear, 0, 1, out=linear)
    linear *= 65535
    shown: Image = _shown()[linear.astype(np.uint16)]
    return shown


class _Tables(NamedTuple):
    """By code: a channel's light, and what it is multiplied by where the brightest channel has this code."""

    linear: Floats
    gain: Floats


@lru_cache(maxsize=4)
def _tables(transfer: int, white: int) -> _Tables:
    signal = np.arange(white + 1) / white
    if transfer == PQ:
        linear = _from_pq(signal)
        light = linear
    else:
        linear = _from_hlg(signal)
        light = _PEAK * linear**1.2  # BT.2100's OOTF for a peak of 1000 cd/m²
    gain = np.divide(_compressed(light) / _WHITE, linear, out=np.full_like(linear, 1 / _WHITE), where=linear > 0)
    return _Tables(linear.astype(np.float32), gain.astype(np.float32))


@lru_cache(maxsize=1)
def _shown() -> NDArray[np.uint8]:
    """The byte for a share of white in 65,535 steps."""
    return np.round(255 * (np.arange(65536) / 65535) ** (1 / _GAMMA)).astype(np.uint8)


def _compressed(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """BT.2390's EETF from ``_PEAK`` to ``_WHITE``, both and the result in cd/m²: straight below its knee."""
    top = float(_to_pq(np.array(_PEAK)))
    most = float(_to_pq(np.array(_WHITE))) / top
    knee = 1.5 * most - 0.5
    signal = np.minimum(_to_pq(light) / top, 1.0)
    t = np.clip((signal - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return _from_pq(np.where(signal < knee, signal, spline) * top)


_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _from_pq(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084: cd/m² of a signal 0…1."""
    root = np.maximum(signal, 0) ** (1 / _M2)
    return np.asarray(10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1))


def _to_pq(light: NDArray[np.float64]) -> NDArray[np.float64]:
    power = np.maximum(light / 10_000, 0) ** _M1
    return np.asarray(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)


def _from_hlg(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """ARIB STD-B67: the scene's light 0…1 of a signal 0…1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
