from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeface.errors import ArtifactError, ConfigError, ImageError
from edgeface.inference.detector import FaceDetector, check_image, shipped_model
from edgeface.runtime.base import Feed, TensorInfo
from edgeface.runtime.fake import FakeBackend
from edgeface.spec.model import DetectorSpec
from tests.fixtures import picture, tiny_detector, tiny_model  # noqa: F401

FLOAT = np.dtype(np.float32)
CANVAS = TensorInfo("input", FLOAT, (1, 3, None, None))


def rows(width: int, height: int, stride: int) -> int:
    return (width // stride) * (height // stride)


def size(feed: Feed) -> tuple[int, int]:
    (pixels,) = feed.values()
    return pixels.shape[3], pixels.shape[2]


class TestOwnFamily:
    def test_faces_come_back_in_the_pictures_pixels(self, tiny_detector: Path) -> None:  # noqa: F811
        with FaceDetector(tiny_detector, threads=1) as detector:
            faces = detector(picture([(2, 2), (7, 4)]))
        assert detector.family.name == "edgeface" and len(faces) == 2
        assert {tuple(box) for box in faces.boxes.tolist()} == {(16.0, 16.0, 144.0, 144.0), (176.0, 80.0, 304.0, 208.0)}
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        np.testing.assert_allclose(faces.landmarks[:, :2, 0].mean(axis=1), centres[:, 0], atol=1)

    def test_a_large_picture_is_scaled_and_scaled_back(self, tiny_detector: Path) -> None:  # noqa: F811
        large = np.kron(picture([(2, 2)]), np.ones((4, 4, 1), np.uint8))
        (box,) = FaceDetector(tiny_detector, threads=1, longest_px=320)(large).boxes
        np.testing.assert_allclose(box, [64, 64, 576, 576], atol=1)

    def test_boxes_are_clipped_to_the_picture(self, tiny_detector: Path) -> None:  # noqa: F811
        faces = FaceDetector(tiny_detector, threads=1)(picture([(0, 0)]))
        assert faces.boxes.tolist() == [[0, 0, 80, 80]]

    @pytest.mark.parametrize("shape", [(1, 1), (20, 20_000), (20_000, 20), (33, 31)])
    def test_odd_sizes_have_no_faces(self, tiny_detector: Path, shape: tuple[int, int]) -> None:  # noqa: F811
        faces = FaceDetector(tiny_detector, threads=1)(np.zeros((*shape, 3), np.uint8))
        assert len(faces) == 0 and faces.landmarks.shape == (0, 5, 2)

    def test_a_backend_with_a_spec_stands_in_for_a_file(self) -> None:
        def answer(feed: Feed) -> dict[str, np.ndarray]:
            count = sum(rows(64, 64, stride) for stride in (8, 16, 32))
            assert feed["image"].shape == (1, 64, 64, 3) and feed["image"].dtype == np.uint8
            score = np.zeros((1, count), np.float32)
            score[0, -1] = 0.9
            box, landmarks = np.full((1, count, 4), 0.5, np.float32), np.zeros((1, count, 10), np.float32)
            return {"score": score, "box": box, "landmarks": landmarks}

        outputs = [TensorInfo(name, FLOAT, (None,)) for name in ("score", "box", "landmarks")]
        backend = FakeBackend([TensorInfo("image", np.dtype(np.uint8), (None, None, None, 3))], outputs, answer)
        faces = FaceDetector(backend=backend, spec=DetectorSpec("fake", upscale=1.0))(np.zeros((64, 64, 3), np.uint8))
        assert faces.boxes.tolist() == [[32, 32, 64, 64]]


class TestYunet:
    def detector(self) -> FaceDetector:
        def answer(feed: Feed) -> dict[str, np.ndarray]:
            width, height = size(feed)
            assert feed["input"][0, :, 0, 0].tolist() == [3, 2, 1]  # BGR, 0…255
            answers = {
                f"{kind}_{stride}": np.zeros((1, rows(width, height, stride), columns), np.float32)
                for stride in (8, 16, 32)
                for kind, columns in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
            }
            cell = 1 * (width // 16) + 3  # stride 16, row 1, column 3: corner (48, 16)
            answers["cls_16"][0, cell], answers["obj_16"][0, cell] = 0.81, 1.0
            answers["bbox_16"][0, cell] = [0.5, 0.5, np.log(2), np.log(1)]
            answers["kps_16"][0, cell, :2] = [0.25, -0.25]
            return answers

        names = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)]
        outputs = [TensorInfo(name, FLOAT, (1, None, None)) for name in names]
        return FaceDetector(backend=FakeBackend([CANVAS], outputs, answer))

    def test_scores_boxes_and_landmarks_are_decoded(self) -> None:
        image = np.full((96, 128, 3), (1, 2, 3), np.uint8)
        faces = self.detector()(image)
        np.testing.assert_allclose(faces.scores, [0.9], rtol=1e-6)
        np.testing.assert_allclose(faces.boxes, [[40, 16, 72, 32]], rtol=1e-6)
        np.testing.assert_allclose(faces.landmarks[0, 0], [52, 12])

    def test_real_yunet_finds_the_people_of_a_clip(self, shared: Path) -> None:
        av = pytest.importorskip("av")
        with av.open(str(shared / "media" / "head-pose-face-detection-female-and-male.mp4")) as clip:
            image = next(clip.decode(video=0)).to_ndarray(format="rgb24")
        detector = FaceDetector(shared / "models" / "face_detection_yunet_2026may.onnx", threads=1)
        ultraface = FaceDetector(shared / "models" / "ultraface_rfb_320.onnx", threads=1)
        faces, boxes_only = detector(image), ultraface(image)
        assert (detector.family.name, ultraface.family.name) == ("YuNet", "UltraFace")
        assert len(faces) == len(boxes_only) == 2
        sorted_boxes = [found.boxes[np.argsort(found.boxes[:, 0])] for found in (faces, boxes_only)]
        np.testing.assert_allclose(*sorted_boxes, atol=15)
        assert (faces.landmarks[:, 0, 0] < faces.landmarks[:, 1, 0]).all()
        assert np.isnan(boxes_only.landmarks).all()


class TestUltraface:
    def detector(self, **settings: int) -> FaceDetector:
        def answer(feed: Feed) -> dict[str, np.ndarray]:
            assert feed["input"].shape == (1, 3, 240, 320)
            np.testing.assert_allclose(feed["input"][0, :, 0, 0], (np.array([255, 127, 0]) - 127) / 128)
            scores = np.array([[[0.9, 0.1], [0.05, 0.95]]], np.float32)
            boxes = np.array([[[0, 0, 1, 1], [0.25, 0.25, 0.5, 0.75]]], np.float32)
            return {"scores": scores, "boxes": boxes}

        outputs = [TensorInfo("scores", FLOAT, (1, None, 2)), TensorInfo("boxes", FLOAT, (1, None, 4))]
        return FaceDetector(
            backend=FakeBackend([TensorInfo("input", FLOAT, (1, 3, 240, 320))], outputs, answer), **settings
        )

    def test_the_picture_fills_the_fixed_canvas_and_keeps_its_shape(self) -> None:
        image = np.full((480, 480, 3), (255, 127, 0), np.uint8)  # half size on the canvas: 240x240
        faces = self.detector()(image)
        np.testing.assert_allclose(faces.boxes, [[160, 120, 320, 360]])
        assert np.isnan(faces.landmarks).all()

    def test_its_size_cannot_be_changed(self) -> None:
        with pytest.raises(ConfigError, match="longest_px: the backend takes only 320x240 pixels, leave it out"):
            self.detector(longest_px=640)


class TestScrfd:
    @pytest.mark.parametrize("batched", [False, True])
    def test_two_anchors_a_cell_in_strides(self, batched: bool) -> None:
        def answer(feed: Feed) -> dict[str, np.ndarray]:
            width, height = size(feed)
            np.testing.assert_allclose(feed["input"][0, :, 0, 0], (np.array([1, 2, 3]) - 127.5) / 128)
            maps = [
                np.zeros((2 * rows(width, height, stride), columns), np.float32)
                for columns in (1, 4, 10)
                for stride in (8, 16, 32)
            ]
            anchor = 2 * (1 * (width // 32) + 2) + 1  # stride 32, row 1, column 2, second anchor: corner (64, 32)
            maps[2][anchor], maps[5][anchor], maps[8][anchor, :2] = 0.8, [1, 0.5, 1, 1.5], [0.5, 0.25]
            return {str(400 + i): value[None] if batched else value for i, value in enumerate(maps)}

        lead = (1, None) if batched else (None,)
        outputs = [TensorInfo(str(400 + i), FLOAT, (*lead, (1, 4, 10)[i // 3])) for i in range(9)]
        faces = FaceDetector(backend=FakeBackend([CANVAS], outputs, answer))(np.full((96, 128, 3), (1, 2, 3), np.uint8))
        np.testing.assert_allclose(faces.boxes, [[32, 16, 96, 80]])
        np.testing.assert_allclose(faces.landmarks[0, 0], [80, 40])


def test_a_model_that_detects_nothing_is_named(tiny_model: Path) -> None:  # noqa: F811
    with pytest.raises(ArtifactError, match=r"is no face detector that edgeface knows: its outputs are age \('\?',\)"):
        FaceDetector(tiny_model)
    with pytest.raises(ArtifactError, match="supported are edgeface's own, YuNet, UltraFace and SCRFD"):
        FaceDetector(tiny_model)


def test_settings_out_of_range_are_named(tiny_detector: Path) -> None:  # noqa: F811
    with pytest.raises(ConfigError, match="score_threshold: expected a number above 0 and up to 1, found 1.5"):
        FaceDetector(tiny_detector, score_threshold=1.5)
    with pytest.raises(ConfigError, match="longest_px: expected 32 pixels or more, found 8"):
        FaceDetector(tiny_detector, longest_px=8)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none\.onnx"):
        FaceDetector(tmp_path / "none.onnx")
    with pytest.raises(ArtifactError, match=r"no shipped model at `.*nothing\.onnx`: install edgeface again"):
        shipped_model("nothing.onnx")


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("photo.jpg", "found str"),
        (np.zeros((4, 4), np.uint8), r"found uint8 \[4, 4\]"),
        (np.zeros((4, 4, 3)), r"found float64 \[4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), r"found uint8 \[0, 4, 3\]"),
    ],
)
def test_what_is_no_picture_is_refused(image: object, found: str) -> None:
    with pytest.raises(ImageError, match=r"expected an image as a uint8 \[H, W, 3\] RGB array, " + found):
        check_image(image)
