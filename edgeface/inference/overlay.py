"""Boxes and labels over an image, readable on a 270-line frame and on a photograph.

Sizes follow the image's height but never fall below what can be read; a label shortens on a small face and goes
where it covers neither another face nor another label, if there is such a place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeface.inference.result import Face
from edgeface.types import Image

_Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels, x2 and y2 excluded."""
_Colour = tuple[int, int, int]

_PALETTE: tuple[_Colour, ...] = (
    (255, 209, 64),
    (86, 204, 255),
    (150, 230, 100),
    (255, 140, 120),
    (214, 160, 255),
    (64, 224, 200),
    (255, 168, 70),
    (255, 150, 210),
)
"""RGB, light enough for dark text."""
_UNTRACKED = (235, 235, 235)
_TEXT = (20, 20, 20)
_MIN_TEXT_PX, _MAX_TEXT_PX = 9, 40
"""Height of a capital letter."""

_UNSURE = "?"
_FREE = 0.05
"""A place this little of which is over something counts as free."""


def draw_faces(image: Image, faces: Sequence[Face]) -> Image:
    """A copy of ``image`` (uint8 ``[H, W, 3]`` RGB) with every face's box and what is known of it."""
    canvas = np.array(image, np.uint8, order="C")
    style = _Style(canvas.shape[0])
    boxes = [_pixels(face.box) for face in faces]
    for face, box in zip(faces, boxes):
        _draw_box(canvas, box, _colour(face), style)
    plates: list[_Box] = []
    for row in sorted(range(len(faces)), key=lambda row: -boxes[row][3]):  # the nearest people choose first
        others = boxes[:row] + boxes[row + 1 :]
        text, plate = _place(_wordings(faces[row], style), boxes[row], (others, plates), canvas.shape[:2], style)
        _draw_label(canvas, text, plate, _colour(faces[row]), style)
        plates.append(plate)
    return canvas


class _Style:
    """Line widths and letters for an image of ``height`` pixels."""

    def __init__(self, height: int) -> None:
        import cv2

        self.font = cv2.FONT_HERSHEY_SIMPLEX
        self.text_px = int(np.clip(round(height / 45), _MIN_TEXT_PX, _MAX_TEXT_PX))
        self.line = max(1, round(height / 240))
        self.pad = max(2, self.text_px // 4)
        self.bold = max(1, round(self.text_px / 12))
        self.scale = cv2.getFontScaleFromHeight(self.font, self.text_px, self.bold)
        self.plus_minus = "±" if int(cv2.__version__.split(".")[0]) >= 5 else "+-"  # older fonts are ASCII only

    def plate(self, text: str) -> tuple[int, int]:
        """Width and height in pixels of the plate behind ``text``."""
        import cv2

        (width, _), _ = cv2.getTextSize(text, self.font, self.scale, self.bold)
        return width + 2 * self.pad, self.text_px + 2 * self.pad


def _wordings(face: Face, style: _Style) -> list[str]:
    """What a label may say, the fullest first; what is unsure is a question mark."""
    number = "" if face.track is None else f"#{face.track}"
    sex, sex_sure = _class(face, "gender", face.gender and face.gender[:1].upper(), face.gender_confidence)
    race, race_sure = _class(face, "race", face.race, face.race_confidence)
    age, spread = "" if face.age is None else f"{face.age:.0f}", ""
    if "age" in face.abstained:
        age = _UNSURE
    elif face.age_std is not None:
        spread = f"{style.plus_minus}{face.age_std:.0f}"
    wordings = [
        (number, sex, sex_sure, age + spread, race, race_sure),
        (number, sex, age + spread, race),
        (number, sex, age, race),
        (number, sex, age),
    ]
    texts = (" ".join(part for part in parts if part) for parts in wordings)
    return [text for text in dict.fromkeys(texts) if text] or [""]


def _class(face: Face, head: str, name: str | None, confidence: float | None) -> tuple[str, str]:
    """A head's class and its probability as a label writes them."""
    if head in face.abstained:
        return _UNSURE, ""
    return name or "", "" if confidence is None else f"{confidence:.0%}"


def _place(
    wordings: list[str],
    box: _Box,
    obstacles: tuple[list[_Box], list[_Box]],
    frame: tuple[int, int],
    style: _Style,
) -> tuple[str, _Box]:
    """The fullest wording that finds a free place by its face, else the wording and place that cover least.

    ``obstacles`` are the other faces' boxes and the labels placed so far; ``frame`` is (height, width) in pixels.
    """
    widest = min(max(4 * (box[2] - box[0]), style.plate(wordings[-1])[0]), frame[1])
    choices: list[tuple[float, str, _Box]] = []
    for text in wordings:
        size = style.plate(text)
        if size[0] > widest and text is not wordings[-1]:
            continue
        places = [_inside(x, y, size, frame) for x, y in _corners(box, size)]
        cost, plate = min(zip(_costs(places, box, *obstacles), places))
        if cost < _FREE:
            return text, plate
        choices.append((cost, text, plate))
    _, text, plate = min(choices, key=lambda choice: choice[0])
    return text, plate


def _corners(box: _Box, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Top-left corners for a plate of ``size`` about ``box``, the best liked first."""
    (x1, y1, x2, y2), (width, height) = box, size
    middle = (x1 + x2 - width) // 2
    above = [(x1, y1 - height), (middle, y1 - height), (x2 - width, y1 - height)]
    below = [(x1, y2), (middle, y2), (x2 - width, y2)]
    beside = [(x2, y1), (x1 - width, y1), (x2, y2 - height), (x1 - width, y2 - height)]
    within = [(x1, y2 - height), (x1, y1)]
    return above + below + beside + within


def _inside(x: int, y: int, size: tuple[int, int], frame: tuple[int, int]) -> _Box:
    """A plate of ``size`` at ``x, y``, moved into the frame (and cut where the frame is smaller)."""
    width, height = min(size[0], frame[1]), min(size[1], frame[0])
    x, y = min(max(x, 0), frame[1] - width), min(max(y, 0), frame[0] - height)
    return x, y, x + width, y + height


def _costs(places: list[_Box], box: _Box, faces: list[_Box], plates: list[_Box]) -> list[float]:
    """How bad each place is: the shares of the plate over its own face, other faces and labels; ranks break ties."""
    area = _covered(places, places).diagonal()
    own, other, label = (_covered(places, group).sum(axis=1) / area for group in ([box], faces, plates))
    rank = np.arange(len(places)) * _FREE / (2 * len(places))
    return list((own + 3 * other + 4 * label + rank).tolist())


def _covered(first: list[_Box], second: list[_Box]) -> NDArray[np.float64]:
    """Intersection areas in pixels of every pair: ``[len(first), len(second)]``."""
    a, b = np.reshape(first, (-1, 1, 4)), np.reshape(second, (1, -1, 4))
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.asarray(np.clip(sides, 0, None).prod(axis=-1), np.float64)


def _draw_box(canvas: Image, box: _Box, colour: _Colour, style: _Style) -> None:
    import cv2

    x1, y1, x2, y2 = box
    if min(x2 - x1, y2 - y1) >= 24:  # a dark rim keeps the line visible on bright ground; small faces have no room
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), _TEXT, style.line + 2)
    cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), colour, style.line)


def _draw_label(canvas: Image, text: str, plate: _Box, colour: _Colour, style: _Style) -> None:
    import cv2

    x1, y1, x2, y2 = plate
    cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), colour, cv2.FILLED)
    at = (x1 + style.pad, y1 + style.pad + style.text_px)
    cv2.putText(canvas, text, at, style.font, style.scale, _TEXT, style.bold, cv2.LINE_AA)


def _colour(face: Face) -> _Colour:
    return _UNTRACKED if face.track is None else _PALETTE[face.track % len(_PALETTE)]


def _pixels(box: tuple[float, float, float, float]) -> _Box:
    """The whole pixels a box touches, at least one."""
    x1, y1, x2, y2 = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)
