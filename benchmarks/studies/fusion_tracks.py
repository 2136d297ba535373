"""Synthetic clips of labelled chips for ``benchmarks.studies.fusion_study``: people who move, turn, blur, come near
and get covered.

A chip's face is pasted through a soft rounded mask onto a moving background. What a camera does to it is drawn per clip
from a seeded generator: smooth motion and scale, tilt and shear, motion blur from its speed, spells of defocus, light
that drifts and flickers, a covering bar, sensor noise and JPEG.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.evaluation.datasets import LabelledFace
from edgeface.imaging.image_io import decode_image
from edgeface.types import Image

FPS = 25
WIDTH, HEIGHT = 480, 270
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Person:
    """A chip and its life in one clip, one row a frame.

    ``centres`` ``[T, 2]`` and ``sides`` ``[T]`` of the chip in pixels, ``turns`` ``[T]`` in radians, ``shears``
    ``[T]``, ``defocus`` ``[T]`` in hundredths of the chip's side, ``light`` ``[T, 2]`` gain and shift, ``covered``
    ``[T]`` from 0, not at all, to 1, whole.
    """

    face: LabelledFace
    chip: Image
    centres: Array
    sides: Array
    turns: Array
    shears: Array
    defocus: Array
    light: Array
    covered: Array


def people_of(chips: list[tuple[LabelledFace, Image]], frames: int, rng: np.random.Generator) -> list[Person]:
    """The people of one clip, each in a lane of his own that leaves room to meet the neighbour."""
    lanes = np.linspace(0, WIDTH, 2 * len(chips) + 1)[1::2]
    return [_person(face, chip, lane, frames, rng) for (face, chip), lane in zip(chips, lanes)]


def _person(face: LabelledFace, chip: Image, lane: float, frames: int, rng: np.random.Generator) -> Person:
    x = lane + 55 * _drift(frames, rng, 2.0)
    y = HEIGHT / 2 + 35 * _drift(frames, rng, 1.5)
    sides = np.exp(np.log(100) + 0.45 * _drift(frames, rng, 2.5))
    defocus = 2.5 * np.clip(_drift(frames, rng, 0.6) - 0.6, 0, None)
    light = np.stack([1 + 0.22 * _drift(frames, rng, 1.0), 14 * _drift(frames, rng, 0.8)], axis=1)
    covered = np.zeros(frames)
    start, length = rng.integers(frames // 4, 3 * frames // 4), rng.integers(8, 20)
    covered[start : start + length] = np.sin(np.linspace(0, np.pi, length))[: max(0, frames - start)]
    return Person(
        face,
        chip,
        np.stack([x, y], axis=1),
        sides,
        0.18 * _drift(frames, rng, 0.9),
        0.12 * _drift(frames, rng, 0.9),
        defocus,
        light,
        covered * rng.integers(0, 2),
    )


def _drift(frames: int, rng: np.random.Generator, period_s: float) -> Array:
    """A smooth random curve of about unit spread: white noise seen through a Gaussian of ``period_s`` / 4 seconds."""
    sigma = period_s * FPS / 4
    reach = int(4 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    noise = rng.standard_normal(frames + 2 * reach)
    return np.convolve(noise, kernel / np.sqrt((kernel**2).sum()), mode="valid")


def render(people: list[Person], rng: np.random.Generator) -> Iterator[Image]:
    """The clip's frames, uint8 ``[270, 480, 3]`` RGB."""
    backdrop = _backdrop(rng)
    frames = len(people[0].sides)
    pan = 12 * np.stack([_drift(frames, rng, 3.0), _drift(frames, rng, 3.0)], axis=1)
    for index in range(frames):
        x, y = (int(value) for value in np.clip(pan[index] + 40, 0, 80))
        canvas = backdrop[y : y + HEIGHT, x : x + WIDTH].astype(np.float32)
        for person in sorted(people, key=lambda one: float(one.sides[index])):
            _paste(canvas, person, index)
        canvas += rng.normal(0, 3.0, canvas.shape).astype(np.float32)
        picture = np.clip(canvas, 0, 255).astype(np.uint8)
        _, packed = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 90))])
        yield decode_image(packed.tobytes())


def _backdrop(rng: np.random.Generator) -> Image:
    """Soft blotches of colour, larger than the frame so that the camera may sway."""
    coarse = np.clip(rng.integers(50, 190, (9, 14, 1)) + rng.integers(-30, 30, (9, 14, 3)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (WIDTH + 80, HEIGHT + 80), interpolation=cv2.INTER_CUBIC), np.uint8)


def _paste(canvas: NDArray[np.float32], person: Person, index: int) -> None:
    """Draw a person into ``canvas`` in place."""
    chip = person.chip.astype(np.float32)
    side = chip.shape[0]
    if person.defocus[index] > 0.05:
        chip = np.asarray(cv2.GaussianBlur(chip, (0, 0), person.defocus[index] * side / 100), np.float32)
    gain, shift = person.light[index]
    chip = (chip - 110) * gain + 110 + shift
    chip = _cover(chip, person.covered[index])
    reach = 0.85 * person.sides[index] + 12
    left, top = np.clip(person.centres[index] - reach, 0, [WIDTH - 2, HEIGHT - 2]).astype(int)
    right, bottom = np.clip(person.centres[index] + reach, [left + 1, top + 1], [WIDTH, HEIGHT]).astype(int)
    part = canvas[top:bottom, left:right]
    matrix = _placed(person, index, side) - [[0, 0, left], [0, 0, top]]
    face = cv2.warpAffine(chip, matrix, part.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(_mask(side), matrix, part.shape[1::-1])
    kernel = _motion_kernel(person, index)
    if kernel is not None:
        face, alpha = cv2.filter2D(face, -1, kernel), cv2.filter2D(alpha, -1, kernel)
    part += alpha[..., None] * (face - part)


def _mask(side: int) -> NDArray[np.float32]:
    """1 inside the rounded square that fills the chip, 0 at its edges."""
    grid = ((np.arange(side) + 0.5) / side * 2 - 1) ** 4
    distance = (grid[None, :] + grid[:, None]) ** 0.25
    return np.clip((1.0 - distance) / 0.08, 0, 1).astype(np.float32)


def _cover(chip: NDArray[np.float32], covered: float) -> NDArray[np.float32]:
    """Something grey in front of the face, from below."""
    rows = int(covered * chip.shape[0])
    if rows:
        chip = chip.copy()
        chip[chip.shape[0] - rows :] = 120
    return chip


def _placed(person: Person, index: int, side: int) -> Array:
    """Chip pixels → canvas pixels: scale, tilt, shear, place."""
    scale, turn = person.sides[index] / side, person.turns[index]
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = linear @ np.array([[1, person.shears[index]], [0, 1]])
    return np.hstack([linear, (person.centres[index] - linear @ [side / 2, side / 2])[:, None]])


def _motion_kernel(person: Person, index: int) -> NDArray[np.float32] | None:
    """The path during a shutter open for half a frame; ``None`` for less than a pixel."""
    before = person.centres[max(index - 1, 0)]
    step = (person.centres[index] - before) * 0.5
    length = float(np.hypot(*step))
    if length < 1:
        return None
    reach = int(np.ceil(length / 2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    for part in np.linspace(-0.5, 0.5, 4 * reach + 3):
        x, y = np.rint(step * part).astype(int) + reach
        kernel[y, x] += 1
    return np.asarray(kernel / kernel.sum(), np.float32)
