"""Large images in tiles and scales: nothing is missed between them, nothing counts twice."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.errors import ConfigError
from edgeface.imaging.portraits import portraits
from edgeface.inference.detector import FaceDetector
from edgeface.inference.views import OVERLAP_PX, SMALLEST_PX, TILE_PX, UPSCALE, merged, views
from edgeface.types import Faces


def _faces(*rows: tuple[float, float, float, float, float]) -> Faces:
    array = np.array(rows, np.float32).reshape(-1, 5)
    return Faces(array[:, :4], array[:, 4], np.zeros((len(array), 5, 2), np.float32))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(8, 400), st.data())
def test_every_face_from_the_smallest_on_lies_whole_in_a_view_that_shows_it_large_enough(
    width: int, height: int, min_face: int, data: st.DataObject
) -> None:
    levels = views(width, height, min_face, 640, 32)
    side = data.draw(st.floats(min(min_face, width, height), min(width, height)))
    x, y = data.draw(st.floats(0, width - side)), data.draw(st.floats(0, height - side))
    sizes = [
        side * view.fit.scale_x
        for level in levels
        for view in level
        if view.x <= x and view.y <= y and x + side <= view.x + view.width and y + side <= view.y + view.height
        and view.whole(np.array([[x - view.x, y - view.y, x - view.x + side, y - view.y + side]], np.float32))[0]
    ]  # fmt: skip
    wanted = min(SMALLEST_PX / min_face, UPSCALE) * side
    # up to the tiles' overlap a face lies whole in one at the finest scale; larger ones are left to a coarser scale
    enough = wanted if wanted <= 0.9 * OVERLAP_PX else OVERLAP_PX / 4 - 8
    assert sizes and max(sizes) >= 0.97 * enough - 0.5, "small on every canvas"


def test_a_face_on_the_edge_of_a_tile_lies_whole_in_its_neighbour() -> None:
    finest = views(4000, 3000, 24, 640, 32)[-1]
    assert len(finest) > 4
    side = 0.9 * OVERLAP_PX / finest[0].fit.scale_x
    for edge in {view.x + view.width for view in finest if view.cut[2]}:
        box = np.array([edge - side / 2, 200, edge + side / 2, 200 + side], np.float32)
        seen = [view.whole(box[None] - np.tile([view.x, view.y], 2).astype(np.float32))[0] for view in finest]
        inside = [view.x <= box[0] and box[2] <= view.x + view.width and view.y == 0 for view in finest]
        assert any(whole and within for whole, within in zip(seen, inside)), edge


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(8, 400))
def test_views_cover_the_image_within_bounded_canvases(width: int, height: int, min_face: int) -> None:
    for level in views(width, height, min_face, 640, 32):
        seen = np.zeros((height // 16 + 1, width // 16 + 1), bool)
        for view in level:
            assert max(view.fit.canvas_width, view.fit.canvas_height) <= TILE_PX + 32
            assert view.x >= 0 and view.x + view.width <= width and view.y >= 0 and view.y + view.height <= height
            seen[view.y // 16 : (view.y + view.height) // 16 + 1, view.x // 16 : (view.x + view.width) // 16 + 1] = True
        assert seen.all()


def test_a_small_image_is_looked_at_once_as_without_a_smallest_face() -> None:
    ((view,),) = views(500, 375, 24, 640, 32)
    assert (view.fit.width, view.fit.height, view.cut) == (500, 375, (False,) * 4)


def test_a_face_of_two_scales_counts_once_and_a_part_of_a_face_not_at_all() -> None:
    coarse = _faces((100, 100, 300, 360, 0.8))
    fine = _faces((104, 98, 300, 365, 0.9), (150, 150, 190, 200, 0.7), (500, 500, 530, 540, 0.6))
    found = merged([coarse, fine], 0.3)
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])


def test_faces_of_neighbouring_tiles_count_once() -> None:
    assert len(merged([_faces((10, 10, 50, 60, 0.9), (11, 10, 51, 60, 0.8))], 0.3)) == 1


def test_a_face_cut_by_a_tile_is_left_to_the_tile_that_shows_it_whole() -> None:
    left, *_ = views(4000, 1000, 24, 640, 32)[-1]
    assert left.cut == (False, False, True, False)
    boxes = np.array([[0, 10, 40, 60], [left.width - 40, 10, left.width, 60]], np.float32)
    assert left.whole(boxes).tolist() == [True, False]


def test_small_faces_of_a_large_photograph_are_found_where_the_picture_says() -> None:
    portrait, *_ = portraits().values()
    photo, places = np.full((3000, 4000, 3), 120, np.uint8), []
    with FaceDetector(threads=1) as once, FaceDetector(threads=1, min_face=24) as detect:
        box = once(portrait).boxes[0]
        scale = 50 / (box[2] - box[0])
        small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for x, y in ((40, 60), (1700, 1300), (3700, 2700), (2500, 100)):
            photo[y : y + small.shape[0], x : x + small.shape[1]] = small
            places.append(np.tile([x, y], 2) + box * scale)
        found = detect(photo)
        assert len(once(photo)) < len(places) == len(found)
    for place in places:
        row = np.abs(found.boxes - place).max(axis=1).argmin()
        assert np.abs(found.boxes[row] - place).max() < 12
        assert (found.landmarks[row] > place[:2]).all() and (found.landmarks[row] < place[2:]).all()


@pytest.mark.parametrize("min_face", [0, 7.9, float("nan"), 1e6])
def test_a_smallest_face_out_of_range_is_refused(min_face: float) -> None:
    with pytest.raises(ConfigError, match="min_face: expected 8 to 10000 pixels"):
        FaceDetector(threads=1, min_face=min_face)
