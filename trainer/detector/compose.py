"""Composes training pictures: scenes with pasted faces, groups, distractors, then a camera's faults.

All pictures are uint8 ``[H, W, 3]`` RGB, all sizes pixels. Whatever looks like a face in the result is labelled by the
teacher afterwards, so nothing here has to keep books.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from edgeface.types import Image

Rng = np.random.Generator
FACE_OF_CHIP = 0.82  # the teacher's box on a chip, as a fraction of the chip's side
CHIP_SHARES = (0.35, 0.65)  # UTKFace, FairFace: the latter has what the former lacks, faces turned, tilted and covered
SMALLEST, LARGEST = 12, 300


class PictureList(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Image: ...


class Composer:
    """Draws one picture after another from chips (face pictures) and scenes; all randomness comes from ``rng``."""

    def __init__(self, chips: Sequence[PictureList], scenes: PictureList, peopled: Sequence[int], size: int) -> None:
        self.chips, self.scenes, self.peopled, self.size = chips, scenes, peopled, size
        self.kinds = {self.scattered: 0.28, self.group: 0.16, self.people: 0.3, self.mosaic: 0.08, self.portrait: 0.18}

    def __call__(self, rng: Rng) -> Image:
        """A training picture uint8 ``[size, size, 3]``."""
        kinds = list(self.kinds)
        canvas = kinds[rng.choice(len(kinds), p=list(self.kinds.values()))](rng)
        if rng.random() < 0.12:  # the zeros that letterboxing leaves
            edge = int(rng.integers(self.size // 2, self.size))
            canvas[edge:] = 0
            if rng.random() < 0.3:
                canvas[:, int(rng.integers(self.size // 2, self.size)) :] = 0
        return degrade(canvas, rng)

    def scattered(self, rng: Rng) -> Image:
        """A scene, up to eight faces of any size, a few distractors."""
        canvas = self.background(rng)
        for _ in range(rng.integers(0, 4)):
            self.distract(canvas, log_uniform(rng, 16, 200), rng)
        for _ in range(rng.integers(0, 9)):
            side = log_uniform(rng, SMALLEST, LARGEST) if rng.random() < 0.6 else log_uniform(rng, SMALLEST, 64)
            self.paste_face(canvas, side, rng.uniform(0, self.size, 2), rng)
        return canvas

    def group(self, rng: Rng) -> Image:
        """Many small faces of similar size in rows, as in a classroom or a team photograph."""
        canvas = self.background(rng)
        face = log_uniform(rng, SMALLEST, 60)
        pitch = face * rng.uniform(1.2, 2.6) * np.array([1.0, rng.uniform(1.0, 1.6)])
        top = rng.uniform(0, 0.5) * self.size
        for row in range(int(rng.integers(1, 5))):
            for column in range(int(self.size / pitch[0]) + 1):
                if rng.random() < 0.25:
                    continue
                centre = np.array([column + 0.5 * (row % 2), row]) * pitch + [0, top] + rng.normal(0, 0.15, 2) * pitch
                if rng.random() < 0.12:
                    self.distract(canvas, face, rng, centre)
                else:
                    self.paste_face(canvas, face * rng.uniform(0.8, 1.25), centre, rng)
        return canvas

    def people(self, rng: Rng) -> Image:
        """A scene in which the teacher sees people, at any scale; now and then with a pasted face beside them."""
        index = self.peopled[rng.integers(len(self.peopled))] if self.peopled else rng.integers(len(self.scenes))
        canvas = self.view(self.scenes[int(index)], rng, 0.35, 1.8)
        if rng.random() < 0.3:
            self.paste_face(canvas, log_uniform(rng, SMALLEST, 100), rng.uniform(0, self.size, 2), rng)
        return canvas

    def mosaic(self, rng: Rng) -> Image:
        """Four views side by side: small things with hard borders."""
        half = self.size // 2
        canvas = np.empty((self.size, self.size, 3), np.uint8)
        for row in (0, 1):
            for column in (0, 1):
                part = self.people(rng) if rng.random() < 0.4 else self.scattered(rng)
                tile = cv2.resize(part, (half, half), interpolation=cv2.INTER_AREA)
                canvas[row * half : (row + 1) * half, column * half : (column + 1) * half] = tile
        return canvas

    def portrait(self, rng: Rng) -> Image:
        """One chip, whole, on a plain or blurred ground: what a face data set or a selfie looks like."""
        chip = self.chip(rng)
        side = int(rng.uniform(0.35, 1.25) * self.size)
        if rng.random() < 0.5:
            canvas = cv2.GaussianBlur(self.background(rng), (0, 0), rng.uniform(3, 12))
        else:
            canvas = np.full((self.size, self.size, 3), rng.integers(0, 256, 3) if rng.random() < 0.5 else 0, np.uint8)
        shift = (
            rng.uniform(min(0, self.size - side), max(0, self.size - side), 2) if rng.random() < 0.7 else np.zeros(2)
        )
        if side < chip.shape[0]:
            chip = cv2.resize(chip, (side, side), interpolation=cv2.INTER_AREA)
        angle = tilt(rng) if rng.random() < 0.5 else 0.0
        matrix = cv2.getRotationMatrix2D((chip.shape[1] / 2, chip.shape[0] / 2), angle, side / chip.shape[0])
        matrix[:, 2] += side / 2 - np.array(chip.shape[1::-1]) / 2 + shift
        size, border = (self.size, self.size), cv2.BORDER_TRANSPARENT
        return cv2.warpAffine(chip, matrix, size, canvas, cv2.INTER_LINEAR, borderMode=border)

    def chip(self, rng: Rng) -> Image:
        """A face picture, half of them mirrored."""
        source = self.chips[rng.choice(len(self.chips), p=CHIP_SHARES)]
        chip = source[int(rng.integers(len(source)))]
        return np.ascontiguousarray(chip[:, ::-1]) if rng.random() < 0.5 else chip

    def background(self, rng: Rng) -> Image:
        """A view of any scene."""
        return self.view(self.scenes[int(rng.integers(len(self.scenes)))], rng, 0.75, 2.5)

    def view(self, scene: Image, rng: Rng, smallest: float, largest: float) -> Image:
        """A square of a scene: scaled, turned a little, mirrored at random, reflected where it is too small."""
        height, width = scene.shape[:2]
        scale = log_uniform(rng, smallest, largest)
        if scale < 0.7:
            scene = cv2.resize(scene, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            height, width, scale = scene.shape[0], scene.shape[1], 1.0
        angle = tilt(rng) if rng.random() < 0.6 else 0.0
        reach = np.maximum(0, np.array([width, height]) - self.size / scale) / 2
        centre = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * reach
        matrix = cv2.getRotationMatrix2D(tuple(centre), angle, scale)
        matrix[:, 2] += self.size / 2 - centre
        if rng.random() < 0.5:
            matrix[0] *= -1
            matrix[0, 2] += self.size - 1
        border = cv2.BORDER_REFLECT_101 if rng.random() < 0.5 else cv2.BORDER_CONSTANT
        size = (self.size, self.size)
        return cv2.warpAffine(scene, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)

    def paste_face(self, canvas: Image, face: float, centre: np.ndarray, rng: Rng) -> None:
        """Paste a chip so that its face is about ``face`` pixels wide, lit like its surroundings."""
        paste(canvas, self.chip(rng), face / FACE_OF_CHIP, centre, rng)

    def distract(self, canvas: Image, side: float, rng: Rng, centre: np.ndarray | None = None) -> None:
        """Paste what is no face in the same way: a patch of a scene, or a chip upside down or scrambled."""
        if rng.random() < 0.6:
            scene = self.scenes[int(rng.integers(len(self.scenes)))]
            edge = int(rng.integers(24, min(scene.shape[:2])))
            x, y = (int(rng.integers(0, extent - edge + 1)) for extent in (scene.shape[1], scene.shape[0]))
            patch = scene[y : y + edge, x : x + edge]
        else:
            patch = self.chip(rng)
            patch = patch[::-1] if rng.random() < 0.5 else scramble(patch, rng)
        paste(canvas, patch, side / FACE_OF_CHIP, rng.uniform(0, self.size, 2) if centre is None else centre, rng)


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


def paste(canvas: Image, patch: Image, side: float, centre: np.ndarray, rng: Rng) -> None:
    """Blend ``patch`` into ``canvas`` around ``centre``, ``side`` pixels wide: turned, skewed, lit alike, feathered."""
    side = max(8.0, side)
    box = int(np.ceil(side * 1.5))
    x, y = (int(round(c - box / 2)) for c in centre)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + box, canvas.shape[1]), min(y + box, canvas.shape[0])
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    if side < 0.7 * patch.shape[0]:
        patch = cv2.resize(patch, (int(side), int(side)), interpolation=cv2.INTER_AREA)
    mask = feather(patch.shape[0], patch.shape[1], rng)
    matrix = perspective(patch.shape[1], patch.shape[0], side, box, rng)
    patch = cv2.warpPerspective(patch, matrix, (box, box), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpPerspective(mask, matrix, (box, box), flags=cv2.INTER_LINEAR)
    window = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
    under, over = canvas[y0:y1, x0:x1].astype(np.float32), patch[window].astype(np.float32)
    if rng.random() < 0.7:  # meet the surroundings' light part of the way
        gain = (np.array(cv2.mean(under)[:3]) + 20) / (np.array(cv2.mean(over)[:3]) + 20)
        over *= (np.clip(gain, 0.4, 1.6) ** rng.uniform(0.1, 0.7)).astype(np.float32)
    alpha = mask[window][:, :, None]
    canvas[y0:y1, x0:x1] = np.clip(under + (over - under) * alpha, 0, 255).astype(np.uint8)


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
        picture = cv2.LUT(picture, table[:, None, :])
    if rng.random() < 0.07:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.2:
        small = cv2.resize(picture, None, fx=(f := rng.uniform(0.4, 0.9)), fy=f, interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.2:
        noise = rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(2, 14))
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))]
        picture = cv2.imdecode(cv2.imencode(".jpg", picture[:, :, ::-1], quality)[1], cv2.IMREAD_COLOR)[:, :, ::-1]
    return np.ascontiguousarray(picture)
