"""Images of maps: colours where they belong, captions of what is answered, nothing drawn over the crop."""

from __future__ import annotations

import numpy as np
import pytest

from edgeface.explain.draw import Tile, draw_maps, tiles_of
from edgeface.explain.explainer import HeadMap
from edgeface.spec.model import default_heads

GREY = np.full((48, 48, 3), 128, np.uint8)


def signed_map() -> np.ndarray:
    values = np.zeros((8, 8), np.float32)
    values[:, 6:], values[:, :2] = 2.0, -1.0
    return values


def tile_pixels(drawn: np.ndarray, number: int) -> np.ndarray:
    """The ``number``-th square of the row, the crop being 0."""
    left = 14 + number * 254
    return drawn[26:266, left : left + 240].astype(int)


def test_red_speaks_for_and_blue_against() -> None:
    drawn = draw_maps(GREY, [Tile("age 30", signed_map(), "y")])
    assert (tile_pixels(drawn, 0) == 128).all()
    left, middle, right = (tile_pixels(drawn, 1)[:, at].mean(axis=0) for at in (10, 120, 230))
    assert right[0] > right[2] + 50
    assert left[2] > left[0] + 20
    assert middle == pytest.approx([128] * 3, abs=1)
    assert abs(right - 128).max() > abs(left - 128).max(), "half the value has the paler colour"


def test_maps_without_a_sign_have_no_blue() -> None:
    drawn = draw_maps(GREY, [Tile("male 60%", signed_map(), method="grad-cam", signed=False)])
    pixels = tile_pixels(drawn, 1)
    assert (pixels[..., 0] >= pixels[..., 2]).all()
    assert (pixels[:, 10] == 128).all()


@pytest.mark.parametrize("values", [np.zeros((3, 3), np.float32), np.full((25, 25), 1e-9, np.float32)])
def test_empty_maps_can_be_drawn(values: np.ndarray) -> None:
    assert draw_maps(GREY, [Tile("age 30", values), Tile("White 40%", values, signed=False)]).shape[2] == 3


def test_the_row_grows_with_the_heads() -> None:
    tile = Tile("age 30", signed_map(), "y")
    one, three = draw_maps(GREY, [tile]), draw_maps(np.zeros((400, 400, 3), np.uint8), [tile] * 3)
    assert one.shape[0] == three.shape[0]
    assert three.shape[1] - one.shape[1] == 2 * 254


def test_captions_say_what_is_answered() -> None:
    empty = np.zeros((2, 3, 3), np.float32)
    maps = {
        "age": HeadMap("age", empty[:1], np.float32([40.4]), np.float32([29.6]), "integrated"),
        "gender": HeadMap("gender", empty, np.float32([0, 0]), np.log(np.float32([0.2, 0.8])), "cam"),
    }
    assert [tile.caption for tile in tiles_of(maps, default_heads())] == ["age 30 = 40 + map", "female 80%"]
    rolled = {"age": HeadMap("age", empty[:1], np.float32([np.nan]), np.float32([29.6]), "roll-out")}
    (tile,) = tiles_of(rolled, default_heads())
    assert (tile.caption, tile.signed, tile.unit) == ("age 30", False, "y")
