"""Face masks: where colours tell the face, where they do not, and what a mask is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from trainer.config import Config
from trainer.data.masks import face_mask

ALIGNMENT = Config().alignment


def disc(size: int, half_width: float, half_height: float) -> NDArray[np.bool_]:
    places = (np.arange(size) + 0.5) / size - 0.5
    return (places[:, None] / half_height) ** 2 + (places[None, :] / half_width) ** 2 <= 1


def painted(face: NDArray[np.bool_], seed: int = 0) -> NDArray[np.uint8]:
    """A skin-coloured face before a green wall, both a little noisy."""
    colours = np.where(face[:, :, None], (200, 150, 120), (40, 90, 60))
    noise = np.random.default_rng(seed).normal(0, 6, colours.shape)
    return np.clip(colours + noise, 0, 255).astype(np.uint8)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize(
    ("size", "half_width", "half_height"), [(112, 0.29, 0.38), (112, 0.36, 0.44), (200, 0.33, 0.40)]
)
def test_colours_show_where_the_face_ends(size: int, half_width: float, half_height: float) -> None:
    face = disc(size, half_width, half_height)
    mask = face_mask(painted(face), ALIGNMENT)
    assert mask.shape == (size, size) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
    assert overlap(mask > 0, face) > 0.93


def test_without_colours_the_mean_face_is_the_mask() -> None:
    flat = face_mask(np.full((112, 112, 3), 90, np.uint8), ALIGNMENT) > 0
    assert overlap(flat, disc(112, 0.34 * 0.98, 0.34 * 1.22)) > 0.9
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    assert overlap(face_mask(noise, ALIGNMENT) > 0, flat) > 0.6


def test_the_same_crop_gives_the_same_mask() -> None:
    crop = painted(disc(112, 0.3, 0.4))
    first = face_mask(crop, ALIGNMENT)
    face_mask(painted(disc(112, 0.2, 0.3), 5), ALIGNMENT)
    assert np.array_equal(first, face_mask(crop, ALIGNMENT))


def test_it_follows_the_alignment() -> None:
    flat = np.full((112, 112, 3), 90, np.uint8)
    near, far = (face_mask(flat, Config(eye_distance=part).alignment) > 0 for part in (0.45, 0.30))
    assert near.sum() > 1.5 * far.sum()
    high = np.argwhere(face_mask(flat, Config(eye_distance=0.3, centre_y=0.4).alignment) > 0).mean(axis=0)
    assert np.argwhere(far).mean(axis=0)[0] - high[0] == pytest.approx(11.2, abs=2)
