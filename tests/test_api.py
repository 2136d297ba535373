from __future__ import annotations

import io
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgeface
from edgeface.api import AttributeEstimator, Face, FaceAnalyzer, FaceDetector
from edgeface.errors import ArtifactError, ConfigError, ImageError
from edgeface.inference.result import FrameResult, faces_from
from edgeface.types import Attributes, Faces, Frame, Tracks
from tests.conftest import ROOT
from tests.fixtures import picture, tiny_detector, tiny_model, tiny_spec, write_picture  # noqa: F401

KEYS = ["box", "score", "landmarks", "track", "age", "age_std"]
KEYS += ["gender", "gender_confidence", "race", "race_confidence", "abstained"]


@pytest.fixture
def analyzer(tiny_detector: Path, tiny_model: Path) -> FaceAnalyzer:  # noqa: F811
    return FaceAnalyzer(tiny_detector, tiny_model, threads=1)


def arrays(count: int, landmarks: float = 1.0) -> tuple[Faces, Attributes]:
    faces = Faces(np.full((count, 4), 2.0), np.full(count, 0.5), np.full((count, 5, 2), landmarks))
    gender, race = np.tile([0.3, 0.7], (count, 1)), np.tile([0.1, 0.1, 0.6, 0.1, 0.1], (count, 1))
    return faces, Attributes(np.full(count, 33.333), np.full(count, 4.0), gender, race)


def test_an_array_and_a_file_have_the_same_faces(analyzer: FaceAnalyzer, tmp_path: Path) -> None:
    path = write_picture(tmp_path / "a.png")
    with analyzer:
        (face,) = analyzer(picture())
        assert analyzer(path) == analyzer(str(path)) == [face]
    assert face.box == (16.0, 16.0, 144.0, 144.0)
    assert face.gender in ("male", "female") and face.race == "White" and 0 < face.age < 90


def test_ready_parts_are_taken_as_they_are(tiny_detector: Path, tiny_model: Path) -> None:  # noqa: F811
    detector, attributes = FaceDetector(tiny_detector, threads=1), AttributeEstimator(tiny_model, threads=1)
    analyzer = FaceAnalyzer(detector, attributes)
    assert analyzer.detector is detector and analyzer.attributes is attributes
    assert analyzer.spec == tiny_spec()


def test_no_picture_is_an_image_error(analyzer: FaceAnalyzer, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no image at"):
        analyzer(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match=r"expected an image \[H, W, 3\], .* found uint8 \[4, 4, 2\]"):
        analyzer(np.zeros((4, 4, 2), np.uint8))


def test_opencvs_order_is_named_once_or_per_call(tiny_detector: Path, tiny_model: Path) -> None:  # noqa: F811
    """The network sees red and blue apart: the stripes' ages differ where they are swapped."""
    rgb = picture()
    rgb[..., 0] //= 2
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    with FaceAnalyzer(tiny_detector, tiny_model, threads=1) as plain:
        wanted = plain(rgb)
        assert wanted and plain(bgr, colour="BGR") == wanted != plain(bgr)
        assert (plain.detector(bgr, colour="BGR").boxes == plain.detector(rgb).boxes).all()
        faces = plain.detector(rgb)
        assert (plain.attributes(bgr, faces, colour="BGR").age == plain.attributes(rgb, faces).age).all()
    with FaceAnalyzer(tiny_detector, tiny_model, threads=1, colour="BGR") as named:
        assert named(bgr) == named(rgb, colour="RGB") == wanted
        assert (named.detector(rgb).boxes == faces.boxes).all(), "what a run hands to the parts is RGB"
    with pytest.raises(ConfigError, match="colour: expected one of RGB, BGR, found `BRG`"):
        FaceAnalyzer(tiny_detector, tiny_model, colour="BRG")


@pytest.mark.parametrize("kind", ["deep", "alpha", "float", "bytes", "file"])
def test_all_calls_take_all_kinds_of_images(analyzer: FaceAnalyzer, kind: str) -> None:
    image = picture()
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    given = {
        "deep": image.astype(np.uint16) * 257,
        "alpha": np.dstack([image, image[..., 0]]),
        "float": image.astype(np.float32) / 255,
        "bytes": data,
        "file": None,
    }[kind]
    faces = analyzer.detector(image)
    assert len(analyzer(io.BytesIO(data) if kind == "file" else given)) == 1
    assert len(analyzer.detector(io.BytesIO(data) if kind == "file" else given)) == 1
    assert len(analyzer.attributes(io.BytesIO(data) if kind == "file" else given, faces)) == 1


def test_the_package_offers_the_same_names() -> None:
    assert edgeface.FaceAnalyzer is FaceAnalyzer and edgeface.Face is Face
    assert edgeface.FaceDetector is FaceDetector and edgeface.AttributeEstimator is AttributeEstimator


def test_a_face_holds_plain_values_and_the_likeliest_classes() -> None:
    (face,) = faces_from(*arrays(1), tiny_spec())
    assert (face.gender, face.race, face.track) == ("female", "Asian", None)
    assert face.gender_confidence == pytest.approx(0.7) and face.race_confidence == pytest.approx(0.6)
    assert all(type(value) is float for value in (*face.box, face.score, face.age, face.age_std, *face.landmarks[0]))


def test_a_faces_json_has_the_agreed_keys_in_order() -> None:
    (face,) = faces_from(*arrays(1), tiny_spec(), Tracks([7]))
    data = json.loads(json.dumps(face.to_dict()))
    assert list(data) == KEYS
    assert data["track"] == 7 and data["age"] == 33.33 and data["landmarks"] == [[1.0, 1.0]] * 5


def test_missing_landmarks_and_tracks_are_null() -> None:
    (face,) = faces_from(*arrays(1, np.nan), tiny_spec(), Tracks([-1]))
    data = json.loads(json.dumps(face.to_dict(), allow_nan=False))
    assert data["landmarks"] is None and data["track"] is None


def test_a_frames_json_names_where_it_is_from() -> None:
    frame = Frame(np.zeros((4, 6, 3), np.uint8), 0.08, "clip.mp4", 2)
    data = FrameResult(frame, tuple(faces_from(*arrays(2), tiny_spec()))).to_dict()
    assert list(data) == ["schema", "source", "frame", "pts_s", "path", "width", "height", "faces"]
    assert (data["frame"], data["pts_s"], data["width"], data["height"]) == (2, 0.08, 6, 4)
    assert len(data["faces"]) == 2
    assert FrameResult(Frame(frame.pixels), ()).to_dict()["pts_s"] is None


def test_a_word_names_the_network_without_utkface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AttributeEstimator("fairface", threads=1) as estimator:
        assert estimator.spec.training["data"] == ["fairface"]
        assert estimator.from_crops(np.zeros((1, 96, 96, 3), np.uint8)).age.shape == (1,)
    monkeypatch.chdir(tmp_path)
    Path("fairface").write_bytes(b"a file of the user's comes first")
    with pytest.raises(ArtifactError, match="`fairface`"):
        AttributeEstimator("fairface", threads=1)


def test_the_second_networks_card_says_how_to_take_it() -> None:
    card = (ROOT / "edgeface" / "assets" / "models" / "attributes-fairface.md").read_text(encoding="utf-8")
    (call,) = re.findall(r"`(FaceAnalyzer\(.+?\))`", card)
    with eval(call, {"FaceAnalyzer": FaceAnalyzer}) as analyzer:
        assert analyzer.spec.name == "edgeface-fairface"
