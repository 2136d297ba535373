"""Other face detectors, each a function of an RGB image that gives boxes float ``[N, 4]`` xyxy in its pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Unavailable, required
from edgeface.inference.detector import FaceDetector
from edgeface.types import Image

MODELS = Path(__file__).resolve().parents[3] / "shared" / "models"
YUNET, ULTRAFACE = "face_detection_yunet_2026may.onnx", "ultraface_rfb_320.onnx"
Boxes = NDArray[Any]
Detect = Callable[[Image], Boxes]
_YUNET_SCORE, _YUNET_NMS, _YUNET_CANDIDATES = 0.7, 0.3, 5000


def ours(model: Path | None = None) -> Detect:
    """A detector of a family that edgeface knows, on one thread; ``None``: the shipped one."""
    detector = FaceDetector(model, threads=1)
    return lambda picture: detector(picture).boxes


def yunet_opencv() -> Detect:
    """OpenCV's own wrapper of YuNet, on the image fitted to 640 pixels as in our pipeline."""
    import cv2

    cv2.setNumThreads(1)
    net = cv2.FaceDetectorYN.create(str(_file(YUNET)), "", (640, 640), _YUNET_SCORE, _YUNET_NMS, _YUNET_CANDIDATES)

    def detect(picture: Image) -> Boxes:
        scale = 640 / max(picture.shape[:2])
        small = cv2.resize(picture[..., ::-1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        net.setInputSize((small.shape[1], small.shape[0]))
        found = net.detect(small)[1]
        boxes = np.empty((0, 4)) if found is None else found[:, :4] / scale
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)

    return detect


def dlib_hog(upsample: int) -> Callable[[], Detect]:
    """dlib's frontal HOG detector, which is compiled into the library; faces under 80 pixels need ``upsample`` 1."""

    def make() -> Detect:
        detector = required("dlib", "dlib-bin").get_frontal_face_detector()

        def detect(picture: Image) -> Boxes:
            found = detector(picture, upsample)
            return np.array([[box.left(), box.top(), box.right(), box.bottom()] for box in found]).reshape(-1, 4)

        return detect

    return make


def without_model(package: str, reason: str) -> Callable[[], Detect]:
    """A detector that installs from the package index but cannot run offline, or not beside the others."""

    def make() -> Detect:
        raise Unavailable(f"`{package}`: {reason}")

    return make


def _file(name: str) -> Path:
    path = MODELS / name
    if not path.is_file():
        raise Unavailable(f"no ../shared/models/{name}")
    return path


DETECTORS: dict[str, Callable[[], Detect]] = {
    "YuNet, OpenCV": yunet_opencv,
    "YuNet, ONNX Runtime in edgeface": lambda: ours(_file(YUNET)),
    "UltraFace RFB-320, ONNX Runtime in edgeface": lambda: ours(_file(ULTRAFACE)),
    "dlib HOG": dlib_hog(0),
    "dlib HOG, upsampled once": dlib_hog(1),
    "MediaPipe": without_model(
        "mediapipe", "1.2.2 has no model in its wheel, and its opencv-contrib-python overwrites OpenCV's files"
    ),
    "MTCNN": without_model("mtcnn", "1.0.0 has its weights in the wheel but needs TensorFlow"),
    "facenet-pytorch's MTCNN": without_model("facenet-pytorch", "2.6.0 needs torch < 2.3 and NumPy < 2"),
    "RetinaFace of insightface, uniface, batch-face, facexlib": without_model(
        "insightface, uniface, batch-face, facexlib", "no weights in their wheels, downloaded at the first call"
    ),
}
"""By the name in tables."""
