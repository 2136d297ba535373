"""An endless, reproducible stream of training images with the teacher's targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from edgeface.types import Floats
from trainer.detector import sources
from trainer.detector.compose import FACE_OF_CHIP, Composer
from trainer.detector.config import Recipe
from trainer.detector.consensus import steady_landmarks
from trainer.detector.marked import Marked, MarkedPictures
from trainer.detector.photos.photo_crops import Photographs
from trainer.detector.sources import Pictures
from trainer.detector.teacher import Teacher, targets

TEACHER_FILE = "models/face_detection_yunet_2026may.onnx"
_PEOPLED_SCORE = 0.5  # a training scene with such a face belongs to the real people
_BLOCK = 2000  # images that are shown, and then shown once more


class Composed(Dataset[dict[str, torch.Tensor]]):
    """The training stream: item ``index`` is always the same for the same recipe and seed.

    Composing an image costs as much as learning from it, so each is shown twice: ``_BLOCK`` new ones, then the same
    again from memory.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.chips = sources.chips(recipe.shared, recipe.max_faces)
        self.scenes = sources.scenes(recipe.shared, "train", recipe.max_scenes)
        self._teacher: Teacher | None = None
        self._composer: Composer | None = None
        self._shown_once: dict[int, dict[str, torch.Tensor]] = {}

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        block, place = divmod(index, 2 * _BLOCK)
        number = block * _BLOCK + place % _BLOCK
        item = self._shown_once.pop(number, None) or self._labelled(number)
        if place < _BLOCK:
            self._shown_once[number] = item
        return item

    def _labelled(self, number: int) -> dict[str, torch.Tensor]:
        picture = self.picture(number)
        assert self._teacher is not None
        answer = targets(self._teacher.dense(picture.image), picture.marks)
        arrays = {"image": picture.image, **{f.name: getattr(answer, f.name) for f in dataclasses.fields(answer)}}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def picture(self, number: int) -> Marked:
        """Image ``number`` alone, uint8 ``[crop_px, crop_px, 3]`` RGB, with the landmarks known in it."""
        if self._composer is None:  # late, so that each worker process opens its own session
            import cv2

            cv2.setNumThreads(0)
            self._teacher = Teacher(Path(self.recipe.shared) / TEACHER_FILE)
            self._composer = _composer(self._teacher, self.chips, self.scenes, self.recipe.crop_px)
        return self._composer(np.random.default_rng([self.recipe.seed, number]))


def _composer(teacher: Teacher, chips: tuple[Pictures, ...], scenes: Pictures, size: int) -> Composer:
    """A composer whose images bring the landmarks that many views of a face agree on."""
    people = {row: teacher.detect(scenes[row], _PEOPLED_SCORE).boxes for row in range(len(scenes))}

    def on_chip(chip: Pictures, row: int) -> Floats:
        height, width = chip[row].shape[:2]
        reach = FACE_OF_CHIP * min(height, width) / 2
        middle = np.array([width, height], np.float32) / 2
        return _stacked([steady_landmarks(teacher, chip[row], np.concatenate([middle - reach, middle + reach]))])

    marked = [MarkedPictures(chip, partial(on_chip, chip)) for chip in chips]
    populated = MarkedPictures(
        scenes, lambda row: _stacked([steady_landmarks(teacher, scenes[row], box) for box in people[row]])
    )
    return Composer(marked, populated, [row for row, boxes in people.items() if len(boxes)], size)


def _stacked(found: list[Floats | None]) -> Floats:
    return np.array([marks for marks in found if marks is not None], np.float32).reshape(-1, 5, 2)


class Photographed(Dataset[dict[str, torch.Tensor]]):
    """Crops of real photographs: item ``index`` is always the same for the same recipe and seed."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.crops = recipe, Photographs(recipe)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        import cv2

        cv2.setNumThreads(0)
        image, answer = self.crops(np.random.default_rng([self.recipe.seed, index]))
        arrays = {"image": image, **{f.name: getattr(answer, f.name) for f in dataclasses.fields(answer)}}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


class _From(Sampler[int]):
    """Indices from ``start`` on."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))

    def __len__(self) -> int:
        return self.stop - self.start


def batches(recipe: Recipe, first_step: int) -> DataLoader[dict[str, torch.Tensor]]:
    """The batches of steps ``first_step`` up to ``recipe.steps``: ``image`` uint8 and the arrays of ``Targets``."""
    return DataLoader(
        Photographed(recipe) if recipe.photographs else Composed(recipe),
        batch_size=recipe.batch,
        sampler=_From(first_step * recipe.batch, recipe.steps * recipe.batch),
        num_workers=recipe.workers,
        prefetch_factor=4 if recipe.workers else None,
    )
