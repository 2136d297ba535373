"""Composes training images: scenes with pasted faces, groups, distractors, then a camera's faults.

All images are uint8 ``[H, W, 3]`` RGB, all sizes pixels. Whatever looks like a face in the result is labelled by the
teacher afterwards; only landmarks travel with their image, since the teacher knows those of a leaning or small face
badly, but those of the upright, large face that it was pasted from well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from trainer.detector.marked import Marked, moved
from trainer.detector.paste import Rng, degrade, log_uniform, paste, scramble, tilt

FACE_OF_CHIP = 0.82  # the teacher's box on a chip, as a fraction of the chip's side
CHIP_SHARES = (0.35, 0.65)  # UTKFace, FairFace: the latter has what the former lacks, faces turned, tilted and covered
SMALLEST, LARGEST = 12, 300


class PictureList(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Marked: ...


class Composer:
    """Draws one image after another from chips (face images) and scenes; all randomness comes from ``rng``."""

    def __init__(self, chips: Sequence[PictureList], scenes: PictureList, peopled: Sequence[int], size: int) -> None:
        self.chips, self.scenes, self.peopled, self.size = chips, scenes, peopled, size
        self.kinds = {self.scattered: 0.28, self.group: 0.16, self.people: 0.3, self.mosaic: 0.08, self.portrait: 0.18}

    def __call__(self, rng: Rng) -> Marked:
        """A training image uint8 ``[size, size, 3]`` and the landmarks known in it."""
        kinds = list(self.kinds)
        canvas = kinds[rng.choice(len(kinds), p=list(self.kinds.values()))](rng)
        if rng.random() < 0.12:  # the zeros that letterboxing leaves
            edge = int(rng.integers(self.size // 2, self.size))
            canvas.image[edge:] = 0
            if rng.random() < 0.3:
                canvas.image[:, int(rng.integers(self.size // 2, self.size)) :] = 0
        return Marked(degrade(canvas.image, rng), canvas.marks)

    def scattered(self, rng: Rng) -> Marked:
        """A scene, up to eight faces of any size, a few distractors."""
        canvas = self.background(rng)
        for _ in range(rng.integers(0, 4)):
            self.distract(canvas, log_uniform(rng, 16, 200), rng)
        for _ in range(rng.integers(0, 9)):
            side = log_uniform(rng, SMALLEST, LARGEST) if rng.random() < 0.6 else log_uniform(rng, SMALLEST, 64)
            self.paste_face(canvas, side, rng.uniform(0, self.size, 2), rng)
        return canvas

    def group(self, rng: Rng) -> Marked:
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

    def people(self, rng: Rng) -> Marked:
        """A scene in which the teacher sees people, at any scale; now and then with a pasted face beside them."""
        index = self.peopled[int(rng.integers(len(self.peopled)))] if self.peopled else rng.integers(len(self.scenes))
        canvas = self.view(self.scenes[int(index)], rng, 0.35, 1.8)
        if rng.random() < 0.3:
            self.paste_face(canvas, log_uniform(rng, SMALLEST, 100), rng.uniform(0, self.size, 2), rng)
        return canvas

    def mosaic(self, rng: Rng) -> Marked:
        """Four views side by side: small things with hard borders."""
        half = self.size // 2
        canvas = Marked.bare(np.empty((self.size, self.size, 3), np.uint8))
        for row in (0, 1):
            for column in (0, 1):
                part = self.people(rng) if rng.random() < 0.4 else self.scattered(rng)
                tile = part.resized(half, half)
                canvas.image[row * half : (row + 1) * half, column * half : (column + 1) * half] = tile.image
                canvas.add(tile.marks + np.array([column, row], np.float32) * half)
        return canvas

    def portrait(self, rng: Rng) -> Marked:
        """One chip, whole, on a plain or blurred ground: what a face data set or a selfie looks like."""
        chip = self.chip(rng)
        side = int(rng.uniform(0.35, 1.25) * self.size)
        if rng.random() < 0.5:
            canvas = cv2.GaussianBlur(self.background(rng).image, (0, 0), rng.uniform(3, 12))
        else:
            canvas = np.full((self.size, self.size, 3), rng.integers(0, 256, 3) if rng.random() < 0.5 else 0, np.uint8)
        shift = (
            rng.uniform(min(0, self.size - side), max(0, self.size - side), 2) if rng.random() < 0.7 else np.zeros(2)
        )
        if side < chip.image.shape[0]:
            chip = chip.resized(side, side)
        height, width = chip.image.shape[:2]
        angle = tilt(rng) if rng.random() < 0.5 else 0.0
        matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle, side / height), np.float64)
        matrix[:, 2] += side / 2 - np.array([width, height]) / 2 + shift
        size, border = (self.size, self.size), cv2.BORDER_TRANSPARENT
        image = cv2.warpAffine(chip.image, matrix, size, canvas, cv2.INTER_LINEAR, borderMode=border)
        return Marked(np.asarray(image, np.uint8), moved(chip.marks, matrix))

    def chip(self, rng: Rng) -> Marked:
        """A face image, half of them mirrored."""
        source = self.chips[rng.choice(len(self.chips), p=CHIP_SHARES)]
        chip = source[int(rng.integers(len(source)))]
        return chip.mirrored() if rng.random() < 0.5 else chip

    def background(self, rng: Rng) -> Marked:
        """A view of any scene."""
        return self.view(self.scenes[int(rng.integers(len(self.scenes)))], rng, 0.75, 2.5)

    def view(self, scene: Marked, rng: Rng, smallest: float, largest: float) -> Marked:
        """A square of a scene: scaled, turned a little, mirrored at random, reflected where it is too small."""
        height, width = scene.image.shape[:2]
        scale = log_uniform(rng, smallest, largest)
        if scale < 0.7:
            width, height = (max(1, round(side * scale)) for side in (width, height))
            scene, scale = scene.resized(width, height), 1.0
        angle = tilt(rng) if rng.random() < 0.6 else 0.0
        reach = np.maximum(0, np.array([width, height]) - self.size / scale) / 2
        centre = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * reach
        if rng.random() < 0.5:
            scene, centre[0] = scene.mirrored(), width - centre[0]
        matrix = np.asarray(cv2.getRotationMatrix2D(tuple(centre), angle, scale), np.float64)
        matrix[:, 2] += self.size / 2 - centre
        border = cv2.BORDER_REFLECT_101 if rng.random() < 0.5 else cv2.BORDER_CONSTANT
        image = cv2.warpAffine(scene.image, matrix, (self.size,) * 2, flags=cv2.INTER_LINEAR, borderMode=border)
        return Marked(np.asarray(image, np.uint8), moved(scene.marks, matrix))

    def paste_face(self, canvas: Marked, face: float, centre: np.ndarray, rng: Rng) -> None:
        """Paste a chip so that its face is about ``face`` pixels wide, lit like its surroundings."""
        paste(canvas, self.chip(rng), face / FACE_OF_CHIP, centre, rng)

    def distract(self, canvas: Marked, side: float, rng: Rng, centre: np.ndarray | None = None) -> None:
        """Paste what is no face in the same way: a patch of a scene, or a chip upside down or scrambled."""
        if rng.random() < 0.6:
            scene = self.scenes[int(rng.integers(len(self.scenes)))].image
            edge = int(rng.integers(24, min(scene.shape[:2])))
            x, y = (int(rng.integers(0, extent - edge + 1)) for extent in (scene.shape[1], scene.shape[0]))
            patch = scene[y : y + edge, x : x + edge]
        else:
            patch = self.chip(rng).image
            patch = patch[::-1] if rng.random() < 0.5 else scramble(patch, rng)
        centre = rng.uniform(0, self.size, 2) if centre is None else centre
        paste(canvas, Marked.bare(patch), side / FACE_OF_CHIP, centre, rng)
