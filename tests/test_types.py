from __future__ import annotations

import numpy as np
import pytest

from edgeface.types import Attributes, Faces, Frame, Tracks


def faces(count: int) -> Faces:
    return Faces(np.zeros((count, 4)), np.arange(count) / 10, np.zeros((count, 5, 2)))


@pytest.mark.parametrize("kind", [Faces, Attributes, Tracks])
def test_empty_form_has_the_right_shapes(kind: type) -> None:
    empty = kind.empty()
    assert len(empty) == 0
    assert len(empty[np.zeros(0, int)]) == 0


def test_arrays_are_converted_and_read_only() -> None:
    value = faces(2)
    assert value.boxes.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        value.boxes[0, 0] = 1


def test_a_later_change_of_the_input_does_not_show() -> None:
    boxes = np.zeros((1, 4), np.float32)
    value = Faces(boxes, [0.5], np.zeros((1, 5, 2)))
    boxes[0, 0] = 7
    assert value.boxes[0, 0] == 0


def test_wrong_shape_names_field_expected_and_found() -> None:
    with pytest.raises(ValueError, match=r"Faces.boxes: expected shape \('N', 4\), found \(2, 3\)"):
        Faces(np.zeros((2, 3)), np.zeros(2), np.zeros((2, 5, 2)))


def test_unequal_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="same number of rows"):
        Faces(np.zeros((2, 4)), np.zeros(1), np.zeros((2, 5, 2)))


def test_rows_by_int_mask_and_index() -> None:
    value = faces(3)
    assert value[1].scores.tolist() == pytest.approx([0.1])
    assert value[value.scores > 0.05].scores.tolist() == pytest.approx([0.1, 0.2])
    assert value[[2, 0]].scores.tolist() == pytest.approx([0.2, 0.0])


def test_tracks_are_integers() -> None:
    assert Tracks([3, -1]).ids.dtype == np.int64


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_a_frame_is_uint8_rgb(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"pixels: expected uint8 \(H, W, 3\) RGB"):
        Frame(pixels)


def test_frame_knows_its_size() -> None:
    frame = Frame(np.zeros((4, 6, 3), np.uint8))
    assert (frame.width, frame.height) == (6, 4)
