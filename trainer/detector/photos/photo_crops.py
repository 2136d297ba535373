"""Crops of real photographs with exact targets: any scale, any roll, any light.

A photograph's faces are labelled once (``photo_labels``), not crop by crop. So a crop can be turned by any angle and
its labels turn with it, where the teacher's own look at a leaning head would be wrong.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from edgeface.errors import DataError
from edgeface.types import Floats, Image
from trainer.detector.config import Collection, Recipe
from trainer.detector.marked import MIRRORED, moved
from trainer.detector.paste import Rng, degrade, log_uniform
from trainer.detector.photos.assign import assign
from trainer.detector.photos.photo_labels import COLUMNS, FACE, NO_FACE, labels_path
from trainer.detector.sources import decode
from trainer.detector.teacher import Targets

SMALLEST, LARGEST = 9.0, 300.0  # face sizes in a crop, pixels: the square root of the box's area
SCALES = (0.15, 2.3)


@dataclass(frozen=True, eq=False)
class Labelled:
    """One photograph: encoded bytes, width and height in pixels, and its faces.

    ``boxes`` float32 ``[K, 4]`` xyxy pixels; ``scores`` float32 ``[K]``: 1 a face, 0 neither face nor background;
    ``landmarks`` float32 ``[K, 5, 2]``, NaN where unknown; ``hard`` float32 ``[H, 4]``:
    places that were taken for a face and are none.
    """

    data: bytes
    size: tuple[int, int]
    boxes: Floats
    scores: Floats
    landmarks: Floats
    hard: Floats

    @property
    def shows_face(self) -> bool:
        return bool((self.scores == FACE).any())

    def reduced(self, image: Image) -> Labelled:
        """The labels in the pixels of ``image``, the photograph decoded at a fraction of its size."""
        ratio = np.array([image.shape[1] / self.size[0], image.shape[0] / self.size[1]], np.float32)
        boxes, hard = (part * np.tile(ratio, 2) for part in (self.boxes, self.hard))
        return Labelled(self.data, image.shape[1::-1], boxes, self.scores, self.landmarks * ratio, hard)


class Photographs:
    """All labelled photographs of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.items: list[Labelled] = []
        pools: list[list[int]] = []
        for collection in recipe.photographs:
            first = len(self.items)
            self.items += read_labelled(collection)
            pools.append([i for i in range(first, len(self.items)) if self.items[i].shows_face])
        if not self.items:
            raise DataError("the recipe names no photographs: add a table [[photographs]] with a `path`")
        shares = np.array([named.share if pool else 0.0 for pool, named in zip(pools, recipe.photographs)])
        self._pools, self._shares = pools, shares / shares.sum()
        self._grounds: dict[int, Image] = {}
        self.with_hard = [i for i, item in enumerate(self.items) if len(item.hard)]
        self.without = [i for i, item in enumerate(self.items) if not item.shows_face]

    def __call__(self, rng: Rng) -> tuple[Image, Targets]:
        """One crop uint8 ``[crop_px, crop_px, 3]`` RGB and what is to be learnt on it."""
        if rng.random() < 0.15:
            return self._mosaic(rng)
        return self._crop(rng, self.recipe.crop_px)

    def _crop(self, rng: Rng, side: int) -> tuple[Image, Targets]:
        image, faces = self._view(rng, side)
        return degrade_light(degrade(image, rng), rng), assign(*faces, side, side)

    def _mosaic(self, rng: Rng) -> tuple[Image, Targets]:
        """Four views side by side: many small faces, hard borders."""
        side = self.recipe.crop_px
        half, parts = side // 2, []
        canvas = np.empty((side, side, 3), np.uint8)
        for row in (0, 1):
            for column in (0, 1):
                image, (boxes, scores, marks) = self._view(rng, half, LARGEST / 3)
                canvas[row * half : (row + 1) * half, column * half : (column + 1) * half] = image
                offset = np.array([column, row], np.float32) * half
                parts.append((boxes + np.tile(offset, 2), scores, marks + offset))
        boxes, scores, marks = (np.concatenate(arrays) for arrays in zip(*parts))
        return degrade_light(degrade(canvas, rng), rng), assign(boxes, scores, marks, side, side)

    def _view(self, rng: Rng, side: int, largest: float = LARGEST) -> tuple[Image, tuple[Floats, Floats, Floats]]:
        """A square of a photograph and its faces: boxes, scores, landmarks."""
        hard = rng.random() < self.recipe.hard_fraction
        pool = self._pools[int(rng.choice(len(self._pools), p=self._shares))]
        if hard and self.without:
            pool = self.with_hard if rng.random() < 0.5 and self.with_hard else self.without
        item = self.items[pool[int(rng.integers(len(pool)))]]
        width, height = item.size
        anchors_of = item.boxes[item.scores == FACE] if not hard else item.hard
        scale, centre = log_uniform(rng, 0.3, 2.0), rng.uniform(0, 1, 2) * [width, height]
        if len(anchors_of):
            box = anchors_of[int(rng.integers(len(anchors_of)))]
            size = float(np.sqrt(max(1.0, (box[2] - box[0]) * (box[3] - box[1]))))
            wanted = log_uniform(rng, SMALLEST, largest) if rng.random() < 0.6 else log_uniform(rng, 14, 80)
            scale = float(np.clip(wanted / size, *SCALES))
            centre = (box[:2] + box[2:]) / 2 + rng.uniform(-0.45, 0.45, 2) * side / scale
        angle = rng.normal(0, 10) if rng.random() < self.recipe.upright_fraction else rng.uniform(-180, 180)
        ground = self._ground(rng, side)
        image = decode(item.data, 4 if scale < 0.2 else 2 if scale < 0.4 else 1)
        item, centre, scale = item.reduced(image), centre * image.shape[1] / width, scale * width / image.shape[1]
        return _turned(image, item, scale, angle, centre, ground, rng)

    def _ground(self, rng: Rng, side: int) -> Image:
        """What lies behind a photograph that does not fill the crop: another one without people, or one colour."""
        if rng.random() < 0.35 or not self.without:
            colour = rng.integers(0, 256, 3) if rng.random() < 0.5 else np.zeros(3)
            return np.full((side, side, 3), colour, np.uint8)
        chosen = self.without[int(rng.integers(len(self.without)))]
        if chosen not in self._grounds:
            whole, size = decode(self.items[chosen].data), (self.recipe.crop_px,) * 2
            self._grounds[chosen] = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
        left, top = rng.integers(0, self.recipe.crop_px - side + 1, 2)
        return np.array(self._grounds[chosen][top : top + side, left : left + side])


def _turned(
    image: Image, item: Labelled, scale: float, angle: float, centre: np.ndarray, ground: Image, rng: Rng
) -> tuple[Image, tuple[Floats, Floats, Floats]]:
    """The photograph scaled, mirrored at random and turned around ``centre`` over ``ground``, and its faces in it."""
    side = ground.shape[0]
    boxes, marks = item.boxes.copy(), item.landmarks.copy()
    if scale < 0.6:
        shrink = scale / 0.8 if scale > 0.2 else scale
        image = np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
        boxes, marks, centre, scale = boxes * shrink, marks * shrink, centre * shrink, scale / shrink
    if rng.random() < 0.5:
        width = image.shape[1]
        image = np.ascontiguousarray(image[:, ::-1])
        boxes = boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + np.array([width, 0, width, 0])
        marks = marks[:, MIRRORED]
        marks[..., 0] = width - marks[..., 0]
        centre = np.array([width - centre[0], centre[1]])
    centre = _held_inside(centre, image, side / scale)
    matrix = np.asarray(cv2.getRotationMatrix2D(tuple(centre.tolist()), angle, scale), np.float64)
    matrix[:, 2] += side / 2 - centre
    view = cv2.warpAffine(
        image, matrix, (side, side), ground, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    marks = moved(marks, matrix) if len(marks) else marks
    boxes, scores = turned_boxes(boxes, matrix), item.scores.copy()
    seen = _seen_fraction(boxes, side)
    scores[(seen < 0.6) & (scores > 0)] = 0  # half-cut faces count neither way; their boxes would be guesses
    keep = seen > 0.15
    return np.asarray(view, np.uint8), (boxes[keep].astype(np.float32), scores[keep], marks[keep])


def _held_inside(centre: np.ndarray, image: Image, reach: float) -> np.ndarray:
    """``centre`` moved so that a square of side ``reach`` around it leaves the image as little as it can."""
    extent = np.array([image.shape[1], image.shape[0]], np.float64)
    low, high = np.minimum(reach / 2, extent / 2), np.maximum(extent - reach / 2, extent / 2)
    loose = 0.15 * reach
    slack = np.where(extent < reach, (reach - extent) / 2, loose)
    return np.asarray(np.clip(centre, low - slack, high + slack))


def turned_boxes(boxes: Floats, matrix: np.ndarray) -> Floats:
    """Boxes of the ellipses inside ``boxes`` after a similarity ``matrix`` (2x3)."""
    linear = matrix[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2
    centres = centres @ linear.T + matrix[:, 2]
    reach = np.sqrt(halves**2 @ (linear**2).T)
    return np.concatenate([centres - reach, centres + reach], axis=1)


def _seen_fraction(boxes: Floats, side: int) -> Floats:
    inside = np.clip(boxes, 0, side)
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).clip(1e-6)
    return np.asarray((inside[:, 2:] - inside[:, :2]).prod(axis=1) / whole, np.float32)


def degrade_light(image: Image, rng: Rng) -> Image:
    """Darkness, glare, a colour cast."""
    if rng.random() > 0.25:
        return image
    gamma = log_uniform(rng, 0.4, 3.5)
    gain = np.exp(rng.normal(0, 0.12, 3)) if rng.random() < 0.5 else np.ones(3)
    levels = (np.arange(256, dtype=np.float32) / 255)[:, None] ** gamma * gain
    table = np.clip(levels * 255, 0, 255).astype(np.uint8)[None]
    return np.ascontiguousarray(np.asarray(cv2.LUT(image, table), np.uint8))


def read_labelled(collection: Collection) -> list[Labelled]:
    """The photographs of a collection and their labels. Raises ``DataError`` where either is missing."""
    path = Path(collection.path)
    labels = labels_path(collection)
    if not path.is_file():
        raise DataError(
            f"no photographs at `{path}`, expected a zip file; trainer/README.md says where each comes from"
        )
    if not labels.is_file():
        raise DataError(
            f"no labels `{labels}` beside the photographs; make them: python -m trainer.detector label RECIPE"
        )
    found = []
    with np.load(labels) as table, zipfile.ZipFile(path) as archive:
        for name in table.files:
            rows = np.asarray(table[name], np.float32).reshape(-1, COLUMNS)
            kept, hard = rows[rows[:, 4] != NO_FACE], rows[rows[:, 4] == NO_FACE]
            data = archive.read(name)
            with PIL.Image.open(io.BytesIO(data)) as header:
                size = header.size
            marks = kept[:, 5:].reshape(-1, 5, 2)
            found.append(Labelled(data, size, kept[:, :4], kept[:, 4], marks, hard[:, :4]))
    return found
