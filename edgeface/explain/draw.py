"""A crop beside maps of what speaks for each of its answers, as one readable image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeface.explain.explainer import CAM, GRAD_CAM, INTEGRATED, ROLL_OUT, HeadMap
from edgeface.spec.model import HeadSpec
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


_METHODS = {
    CAM: "class activation",
    INTEGRATED: "integrated gradients",
    GRAD_CAM: "Grad-CAM",
    ROLL_OUT: "attention roll-out",
}


class Tile(NamedTuple):
    """A map float ``[h, w]`` over the crop, what it explains, its values' unit ("" for logits), and how it was made.

    Where ``signed``, values are shares of the answer; else only the larger ones mean more.
    """

    caption: str
    values: Floats
    unit: str = ""
    method: str = CAM
    signed: bool = True


def tiles_of(maps: Mapping[str, HeadMap], heads: Sequence[HeadSpec]) -> list[Tile]:
    """One tile a map, captioned with what the head answers."""
    labels = {head.name: head.labels for head in heads}
    return [
        Tile(_caption(found, labels[name]), found.evidence(), "" if labels[name] else "y", found.method, found.adds_up)
        for name, found in maps.items()
    ]


def _caption(found: HeadMap, labels: Sequence[str]) -> str:
    """The age, and what it would be without the map; or the likeliest class and its probability."""
    if not labels:
        age = f"{found.head} {found.answers[0]:.0f}"
        return f"{age} = {found.bias[0]:.0f} + map" if found.adds_up else age
    odds = np.exp(found.answers - found.answers.max())
    return f"{labels[int(odds.argmax())]} {float(odds.max() / odds.sum()):.0%}"


def draw_maps(crop: Image, tiles: Sequence[Tile]) -> Image:
    """``crop`` (uint8 ``[S, S, 3]`` RGB) and its ``tiles`` side by side: uint8 ``[H, W, 3]`` RGB.

    Red speaks for the answer (for age: older), blue against it; the strongest colour is each map's largest value,
    written beneath it.
    """
    width = (len(tiles) + 1) * (_SIDE + _GAP) + _GAP
    canvas = np.full((_CAPTION + _SIDE + _SCALE + _FOOT, width, 3), _PAPER, np.uint8)
    large = _enlarge(crop)
    for number, tile in enumerate([None, *tiles]):
        x, y = _GAP + number * (_SIDE + _GAP), _CAPTION
        canvas[y : y + _SIDE, x : x + _SIDE] = large if tile is None else _blend(large, tile)
        _write(canvas, "crop" if tile is None else tile.caption, (x, y - 8))
        if tile is not None:
            _draw_scale(canvas, tile, (x, y + _SIDE + 4))
            if tile.signed and max(tile.values.shape) <= _FEW:
                _write_values(canvas, tile.values, (x, y))
    _write(canvas, _foot(tiles), (_GAP, canvas.shape[0] - 10))
    return canvas


def _foot(tiles: Sequence[Tile]) -> str:
    """How to read the maps, in one line."""
    if not any(tile.signed for tile in tiles):
        return f"red: what the answer rests on ({', '.join(dict.fromkeys(_METHODS[tile.method] for tile in tiles))})"
    return "red: for the answer (age: older)   blue: against it   numbers: years, or logits against the mean class"


def _enlarge(crop: Image) -> Image:
    import cv2

    shrinks = crop.shape[0] > _SIDE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (_SIDE, _SIDE), interpolation=how), np.uint8)


def _blend(picture: Image, tile: Tile) -> Image:
    """The image in grey, red where the tile's values are positive (or large) and blue where they are negative."""
    import cv2

    strength = cv2.resize(_relative(tile), (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)[..., None]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    colour = np.where(strength > 0, _FOR, _AGAINST)
    cover = _STRONGEST * np.abs(strength)
    return np.asarray(np.rint(grey * (1 - cover) + colour * cover), np.uint8)


def _relative(tile: Tile) -> NDArray[np.float32]:
    """In -1 … 1, the largest magnitude being 1; of values without a sign in 0 … 1, since only their contrast counts."""
    values = tile.values if tile.signed else tile.values - tile.values.min()
    largest = float(np.abs(values).max())
    return np.asarray(values / largest if largest > 0 else values, np.float32)


def _draw_scale(canvas: Image, tile: Tile, at: tuple[int, int]) -> None:
    """A bar from the strongest blue over nothing to the strongest red, and what they stand for."""
    x, y = at
    ramp = np.linspace(-1 if tile.signed else 0, 1, _SIDE // 2, dtype=np.float32)
    grey = np.full((8, len(ramp), 3), 235, np.float32)
    cover = _STRONGEST * np.abs(ramp)[None, :, None]
    colour = np.where(ramp[None, :, None] > 0, _FOR, _AGAINST)
    left = x + (_SIDE - len(ramp)) // 2
    canvas[y + 4 : y + 12, left : left + len(ramp)] = np.rint(grey * (1 - cover) + colour * cover)
    if not tile.signed:
        _write(canvas, "most", (left + len(ramp) + 6, y + 13))
        return
    largest = float(np.abs(tile.values).max())
    number = f"{largest:.2g}" + (f" {tile.unit}" if tile.unit else "")
    _write(canvas, f"-{number}", (left - 6, y + 13), align="right")
    _write(canvas, f"+{number}", (left + len(ramp) + 6, y + 13))


def _write_values(canvas: Image, values: Floats, at: tuple[int, int]) -> None:
    """Every place's value in its middle."""
    rows, columns = values.shape
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
