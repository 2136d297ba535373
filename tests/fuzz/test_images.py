"""Damaged images of every format through the reader: an image or one sentence, in little memory."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgeface.errors import ImageError
from edgeface.imaging.image_io import decode_image, max_pixels
from tests.fuzz.damage import damaged, little_memory, no_hang
from tests.imaging.orientations import oriented

SUFFIXES = (".jpg", ".png", ".bmp", ".gif", ".webp", ".tiff", ".avif", ".jp2", ".ppm")
EACH = 120


def whole(suffix: str) -> bytes:
    """A small image with an orientation where its format can have one."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    try:
        data = cv2.imencode(suffix, cv2.resize(noise, (72, 48)))[1].tobytes()
    except cv2.error:
        pytest.skip(f"this OpenCV cannot encode {suffix}")
    return oriented(data, 6) if suffix in (".jpg", ".png", ".webp", ".tiff", ".avif") else data


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_image_is_an_image_or_one_sentence(suffix: str) -> None:
    data = whole(suffix)
    assert decode_image(data).ndim == 3, "it is readable before it is damaged"
    refused = 0
    with little_memory():
        for seed in range(EACH):
            with no_hang():
                try:
                    image = decode_image(damaged(data, seed), f"damaged {suffix}")
                except ImageError as error:
                    refused += 1
                    assert str(error).startswith(f"`damaged {suffix}`") and "\n" not in str(error)
                else:
                    assert image.dtype == np.uint8 and image.shape[2:] == (3,) and image.size <= 3 * max_pixels()
    assert 0 < refused <= EACH, "damage is noticed"
