from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.imaging.postprocess import anchors, decode_detector, iou_matrix, kept_anchors, nms
from edgeface.types import Faces


def make(boxes: list[list[float]], scores: list[float]) -> Faces:
    return Faces(boxes, scores, np.zeros((len(boxes), 5, 2)))


def test_anchors_lie_row_by_row_strides_in_order() -> None:
    points, steps = anchors(64, 32, (16, 32))
    assert points[:5].tolist() == [[8, 8], [24, 8], [40, 8], [56, 8], [8, 24]]
    assert points[8:].tolist() == [[16, 16], [48, 16]]
    assert steps.tolist() == [16] * 8 + [32] * 2


def test_kept_anchors_cannot_be_spoilt() -> None:
    points, steps = anchors(64, 32, (16, 32))
    expected = points.copy(), steps.copy()
    points += 1
    steps[:] = 0  # one's own to change
    for kept, fresh in zip(kept_anchors(64, 32, (16, 32)), expected):
        np.testing.assert_array_equal(kept, fresh)
        with pytest.raises(ValueError, match="read-only"):
            kept += 1
    assert kept_anchors(32, 64, (16, 32))[0][1].tolist() == [24, 8], "another canvas has others"
    assert len(kept_anchors(64, 32, (16,))[0]) == 8


def test_decode_places_box_and_landmarks_around_the_anchor() -> None:
    score, box, marks = np.zeros(10, np.float32), np.zeros((10, 4), np.float32), np.zeros((10, 10), np.float32)
    score[[4, 9]] = 0.6, 0.9
    box[4], box[9] = [0.5, 0.25, 1, 2], [1, 1, 1, 1]
    marks[4, :2] = [-0.5, 0.5]
    faces = decode_detector(score, box, marks, (64, 32), (16, 32), 0.5)
    np.testing.assert_allclose(faces.scores, [0.9, 0.6])
    np.testing.assert_allclose(faces.boxes, [[16, -16, 80, 48], [0, 20, 24, 56]])
    np.testing.assert_allclose(faces.landmarks[1, :2], [[0, 32], [8, 24]])


def test_decode_of_nothing_is_empty() -> None:
    faces = decode_detector(np.zeros(8, np.float32), np.zeros((8, 4)), np.zeros((8, 10)), (64, 32), (16,), 0.5)
    assert len(faces) == 0


def test_iou_of_known_boxes() -> None:
    found = iou_matrix(np.array([[0, 0, 2, 2], [5, 5, 5, 5]]), np.array([[1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 5, 5]]))
    np.testing.assert_allclose(found, [[1 / 3, 1, 0], [0, 0, 0]])


def test_nms_keeps_the_best_of_each_heap() -> None:
    faces = make([[0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10]], [0.5, 0.9, 0.3])
    np.testing.assert_allclose(nms(faces, 0.4).scores, [0.9, 0.3])


def test_nms_of_nothing() -> None:
    assert len(nms(Faces.empty(), 0.4)) == 0


def test_nms_ties_keep_the_earlier() -> None:
    kept = nms(make([[0, 0, 10, 10], [0, 0, 10, 9]], [0.5, 0.5]), 0.4)
    assert kept.boxes.tolist() == [[0, 0, 10, 10]]


boxes = st.tuples(*[st.floats(0, 50)] * 2, *[st.floats(1, 30)] * 2, st.floats(0.1, 1))


@given(st.lists(boxes, max_size=20), st.floats(0.05, 0.95))
def test_nms_keeps_a_maximal_set_without_overlaps(rows: list[tuple[float, ...]], threshold: float) -> None:
    faces = make([[x, y, x + w, y + h] for x, y, w, h, _ in rows], [row[4] for row in rows]) if rows else Faces.empty()
    kept = nms(faces, threshold)
    overlaps = iou_matrix(kept.boxes, kept.boxes)
    np.fill_diagonal(overlaps, 0)
    assert (overlaps <= threshold).all()
    assert np.all(np.diff(kept.scores) <= 0)
    covered = iou_matrix(faces.boxes, kept.boxes)
    for row in range(len(faces)):  # whatever was dropped overlaps something kept that scores at least as much
        hit = (covered[row] > threshold) & (kept.scores >= faces.scores[row])
        assert hit.any() or (kept.boxes == faces.boxes[row]).all(axis=1).any()
