"""A crop beside maps of what speaks for each of its answers, as one readable picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeface.explain import HeadMap
from edgeface.pipeline.face import Face
from edgeface.types import Floats, Image

_SIDE = 240
"""Of the crop and of every map in pixels."""
_GAP, _CAPTION, _SCALE, _FOOT, _TEXT_PX = 14, 26, 22, 28, 11
_FOR = np.array((214, 47, 39), np.float32)
_AGAINST = np.array((33, 102, 172), np.float32)
_INK, _PAPER = (32, 34, 38), (255, 255, 255)
_STRONGEST = 0.7
"""How much of the largest value's colour covers the crop."""
_FEW = 5
"""A map of at most this many rows and columns has its values written into it."""


class Tile(NamedTuple):
    """A map float ``[h, w]`` over the crop, what it explains, and the unit of its values ("" for logits)."""

    caption: str
    values: Floats
    unit: str = ""


def tiles_of(maps: Mapping[str, HeadMap], face: Face) -> list[Tile]:
    """One tile a head, captioned with the face's answers."""
    tiles = []
    for head, found in maps.items():
        if head == "age":
            tiles.append(Tile(f"age {face.age:.0f} = {found.bias[0]:.0f} + map", found.evidence(), "y"))
        else:
            tiles.append(Tile(f"{getattr(face, head)} {getattr(face, f'{head}_confidence'):.0%}", found.evidence()))
    return tiles


def draw_maps(crop: Image, tiles: Sequence[Tile], foot: str = "") -> Image:
    """``crop`` (uint8 ``[S, S, 3]`` RGB) and its ``tiles`` side by side: uint8 ``[H, W, 3]`` RGB.

    Red speaks for the answer (for age: older), blue against it; the strongest colour is each map's largest value,
    written beneath it. ``foot`` is a line below all.
    """
    width = (len(tiles) + 1) * (_SIDE + _GAP) + _GAP
    canvas = np.full((_CAPTION + _SIDE + _SCALE + _FOOT, width, 3), _PAPER, np.uint8)
    large = _enlarge(crop)
    for number, tile in enumerate([None, *tiles]):
        x, y = _GAP + number * (_SIDE + _GAP), _CAPTION
        canvas[y : y + _SIDE, x : x + _SIDE] = large if tile is None else _blend(large, tile.values)
        _write(canvas, "crop" if tile is None else tile.caption, (x, y - 8))
        if tile is not None:
            _draw_scale(canvas, tile, (x, y + _SIDE + 4))
            _write_values(canvas, tile.values, (x, y))
    _write(canvas, foot or "red: for the answer (age: older)   blue: against it", (_GAP, canvas.shape[0] - 10))
    return canvas


def _enlarge(crop: Image) -> Image:
    import cv2

    shrinks = crop.shape[0] > _SIDE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (_SIDE, _SIDE), interpolation=how), np.uint8)


def _blend(picture: Image, values: Floats) -> Image:
    """The picture in grey, red where ``values`` are positive and blue where they are negative."""
    import cv2

    strength = cv2.resize(_relative(values), (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)[..., None]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    colour = np.where(strength > 0, _FOR, _AGAINST)
    cover = _STRONGEST * np.abs(strength)
    return np.asarray(np.rint(grey * (1 - cover) + colour * cover), np.uint8)


def _relative(values: Floats) -> NDArray[np.float32]:
    """In -1 … 1, the largest magnitude being 1."""
    largest = float(np.abs(values).max())
    return np.asarray(values / largest if largest > 0 else values, np.float32)


def _draw_scale(canvas: Image, tile: Tile, at: tuple[int, int]) -> None:
    """A bar from the strongest blue over nothing to the strongest red, and what they stand for."""
    x, y = at
    ramp = np.linspace(-1, 1, _SIDE // 2, dtype=np.float32)
    grey = np.full((8, len(ramp), 3), 235, np.float32)
    cover = _STRONGEST * np.abs(ramp)[None, :, None]
    colour = np.where(ramp[None, :, None] > 0, _FOR, _AGAINST)
    left = x + (_SIDE - len(ramp)) // 2
    canvas[y + 4 : y + 12, left : left + len(ramp)] = np.rint(grey * (1 - cover) + colour * cover)
    largest = float(np.abs(tile.values).max())
    number = f"{largest:.2g}" + (f" {tile.unit}" if tile.unit else "")
    _write(canvas, f"-{number}", (left - 6, y + 13), align="right")
    _write(canvas, f"+{number}", (left + len(ramp) + 6, y + 13))


def _write_values(canvas: Image, values: Floats, at: tuple[int, int]) -> None:
    """Every place's value in its middle, where there are few."""
    rows, columns = values.shape
    if max(rows, columns) > _FEW:
        return
    digits = 1 if np.abs(values).max() >= 9.995 else 2
    for row, column in np.ndindex(rows, columns):
        middle = (round(at[0] + (column + 0.5) * _SIDE / columns), round(at[1] + (row + 0.5) * _SIDE / rows))
        text = f"{values[row, column]:+.{digits}f}"
        plate = canvas[middle[1] - _TEXT_PX // 2 - 4 : middle[1] + _TEXT_PX // 2 + 4, middle[0] - 24 : middle[0] + 24]
        plate[:] = np.rint(0.35 * plate + 0.65 * 255)
        _write(canvas, text, (middle[0], middle[1] + _TEXT_PX // 2), align="middle")


def _write(canvas: Image, text: str, at: tuple[int, int], align: str = "left") -> None:
    """Text with the left end, right end or middle of its foot at ``at``."""
    import cv2

    font = cv2.FONT_HERSHEY_SIMPLEX
    scale = cv2.getFontScaleFromHeight(font, _TEXT_PX, 1)
    width = cv2.getTextSize(text, font, scale, 1)[0][0]
    x = at[0] - {"left": 0, "middle": width // 2, "right": width}[align]
    cv2.putText(canvas, text, (x, at[1]), font, scale, _INK, 1, cv2.LINE_AA)
