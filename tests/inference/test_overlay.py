from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.inference import overlay as draw
from edgeface.inference.overlay import draw_faces
from tests.pipeline.clips import a_face

GREY = 90


def grey(width: int = 480, height: int = 270) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def labels(monkeypatch: pytest.MonkeyPatch, image: np.ndarray, *faces: object) -> list[tuple[str, tuple[int, ...]]]:
    """Texts and plates in the order they are drawn."""
    drawn: list[tuple[str, tuple[int, ...]]] = []
    monkeypatch.setattr(draw, "_draw_label", lambda canvas, text, plate, *style: drawn.append((text, plate)))
    draw_faces(image, faces)
    return drawn


def test_the_picture_given_stays_untouched() -> None:
    image = grey()
    image.flags.writeable = False
    drawn = draw_faces(image, [a_face((100, 100, 160, 180), track=1)])
    assert (image == GREY).all() and (drawn != GREY).any() and drawn.dtype == np.uint8


def test_without_faces_it_is_a_copy() -> None:
    image = grey()
    drawn = draw_faces(image, [])
    assert drawn is not image and (drawn == image).all()


def test_the_box_is_drawn_on_the_faces_edge_in_its_tracks_colour() -> None:
    drawn = draw_faces(grey(), [a_face((100, 100, 160, 180), track=2)])
    assert (drawn[150, 100] == draw._PALETTE[2]).all() and (drawn[150, 159] == draw._PALETTE[2]).all()
    assert (drawn[140, 130] == GREY).all()  # the face itself stays visible


def test_tracks_differ_in_colour_and_keep_it() -> None:
    first, second = (draw_faces(grey(), [a_face((100, 100, 160, 180), track=track)])[150, 100] for track in (1, 2))
    other_place = draw_faces(grey(), [a_face((200, 60, 260, 140), track=1)])[100, 200]
    assert (first != second).any() and (first == other_place).all()


def test_a_label_says_it_all_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    ((text, plate),) = labels(monkeypatch, grey(), a_face((100, 100, 160, 180), track=3))
    assert text in ("#3 F 97% 34±6 White 92%", "#3 F 97% 34+-6 White 92%")
    assert plate[0] == 100 and plate[3] == 100  # on top of the box


def test_a_face_without_a_track_has_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    ((text, _),) = labels(monkeypatch, grey(), a_face((100, 100, 160, 180)))
    assert text.startswith("F 97% 34")


def test_what_is_unsure_is_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    for abstained, expected in [
        (("age",), "F 97% ? White 92%"),
        (("gender",), "? 34±6 White 92%"),
        (("gender", "age", "race"), "? ? ?"),
    ]:
        ((text, _),) = labels(monkeypatch, grey(), a_face((100, 100, 160, 180), abstained=abstained))
        assert text.replace("+-", "±") == expected


def test_a_tiny_face_gets_a_short_label(monkeypatch: pytest.MonkeyPatch) -> None:
    ((text, plate),) = labels(monkeypatch, grey(), a_face((100, 100, 114, 116), track=3))
    assert text == "#3 F 34"
    assert plate[2] - plate[0] < 80


@pytest.mark.parametrize(("height", "letters_px"), [(48, 9), (270, 9), (1080, 24), (4000, 40)])
def test_letters_follow_the_picture_within_limits(height: int, letters_px: int) -> None:
    assert draw._Style(height).text_px == letters_px


def test_a_label_leaves_other_faces_and_labels_free(monkeypatch: pytest.MonkeyPatch) -> None:
    upper, lower = a_face((100, 60, 150, 118), track=1), a_face((100, 120, 150, 180), track=2)
    drawn = labels(monkeypatch, grey(), upper, lower)
    (_, first), (_, second) = drawn
    boxes = [(100, 60, 150, 118), (100, 120, 150, 180)]
    assert draw._covered([first], [second]).sum() == 0
    assert draw._covered([first, second], boxes).sum() == 0


coordinate = st.floats(-40, 360)


@given(
    st.lists(st.tuples(coordinate, coordinate, st.floats(0.5, 200), st.floats(0.5, 200)), max_size=8),
    st.tuples(st.integers(1, 320), st.integers(1, 200)),
)
@settings(deadline=None, max_examples=60)
def test_any_faces_on_any_picture_can_be_drawn(
    boxes: list[tuple[float, float, float, float]], size: tuple[int, int]
) -> None:
    width, height = size
    faces = [a_face((x, y, x + w, y + h), track=i) for i, (x, y, w, h) in enumerate(boxes)]
    assert draw_faces(grey(width, height), faces).shape == (height, width, 3)


@given(st.tuples(st.integers(-20, 300), st.integers(-20, 200), st.integers(1, 150), st.integers(1, 150)))
@settings(deadline=None)
def test_labels_stay_inside_the_frame(box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    style = draw._Style(180)
    face = a_face((x, y, x + width, y + height), track=12)
    wordings = draw._wordings(face, style)
    text, plate = draw._place(wordings, draw._pixels(face.box), ([], []), (180, 320), style)
    assert text in wordings
    assert plate[0] >= 0 and plate[1] >= 0 and plate[2] <= 320 and plate[3] <= 180
