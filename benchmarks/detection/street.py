"""Faces in the street: recall on labelled photographs, false faces where no person is, heads turned by any angle.

    python -m benchmarks.detection.street --empty VOC.zip --turned UTKFACE-UNCUT.zip [--model ONNX ...]
        [--save benchmarks/results/detector_street.json]

- Labelled: photographs of people with and without masks of fold 1 (`data/more/masks.zip`; the trainer saw folds 3 to
  9, thresholds were chosen on fold 2). A labelled face of 20 px or more is found where a detection overlaps it with IoU
  0.5 or more, best score first, each face once.
- Empty: everyday photographs that name no person (VOC names that begin with `n/`), fold 1: every detection is false.
- Turned: photographs of UTKFace before they were cut, those the trainer left out (the first of fold 3), in which the
  teacher, YuNet, sees one face at score 0.85 or more; turned by each angle around their middle, fitted to 640 px. The
  label turns along as the box of its ellipse.
- Large: 60 faces of 60 px (UTKFace fold 2) pasted into a smooth 12-megapixel image, `min_face=24`.

YuNet (`models/face_detection_yunet_2026may.onnx`) is measured beside, at its own threshold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

import cv2
import numpy as np

from benchmarks.script import DATA, Results, Tables, markdown, run_script
from edgeface.common.machine import fingerprint
from edgeface.imaging.image_input import as_rgb
from edgeface.imaging.postprocess import iou_matrix
from edgeface.inference.detector import FaceDetector, shipped_model
from edgeface.types import Faces, Floats, Image

FOLD, SMALLEST_PX, MATCH_IOU = 1, 20, 0.5
ANGLES = (0, 45, 90, 135, 180, 270)
_TURNED = 150
YUNET_SCORE = 0.7
Detect = Callable[[Image], Faces]


def fold_of(name: str) -> int:
    """The fold of a file name: ``sha1(stem) % 10``."""
    return int(hashlib.sha1(PurePosixPath(name).stem.encode()).hexdigest(), 16) % 10


def street(detect: Detect, photographs: Path, boxes: Path) -> dict[str, Any]:
    """Recall of labelled faces by kind."""
    labels = json.loads(boxes.read_text(encoding="utf-8"))
    found: dict[str, list[bool]] = {"bare": [], "masked": []}
    with ZipFile(photographs) as archive:
        for name in (name for name in sorted(labels) if fold_of(name) == FOLD):
            drawn = np.array([box[:4] for box in labels[name]], np.float32)
            hit = _matched(detect(as_rgb(archive.read(name))), drawn)
            for row, (left, top, right, bottom, kind) in enumerate(labels[name]):
                if min(right - left, bottom - top) >= SMALLEST_PX:
                    found["bare" if kind == "without_mask" else "masked"].append(bool(hit[row]))
    every = found["bare"] + found["masked"]
    recall = {kind: round(float(np.mean(hits)), 4) for kind, hits in found.items()}
    return {"faces": len(every), "bare_faces": len(found["bare"]), "recall": round(float(np.mean(every)), 4), **recall}


def _matched(faces: Faces, drawn: Floats) -> np.ndarray:
    overlap, hit = iou_matrix(faces.boxes, drawn), np.zeros(len(drawn), bool)
    for row in range(len(faces)):
        candidates = np.where(hit, -1.0, overlap[row])
        if len(drawn) and candidates.max() >= MATCH_IOU:
            hit[candidates.argmax()] = True
    return hit


def empty(detect: Detect, photographs: Path) -> dict[str, Any]:
    """False faces per image without people."""
    with ZipFile(photographs) as archive:
        names = [name for name in archive.namelist() if name.startswith("n/") and fold_of(name) == FOLD]
        false = sum(len(detect(as_rgb(archive.read(name)))) for name in names)
    return {"empty_images": len(names), "false_per_image": round(false / max(1, len(names)), 4)}


def turned_photographs(path: Path, teacher: Detect) -> list[tuple[Image, Floats, Floats]]:
    """Photographs, boxes float32 ``[4]`` and landmarks float32 ``[5, 2]`` of their one face."""
    with ZipFile(path) as archive:
        names = [n for n in archive.namelist() if fold_of(PurePosixPath(n).stem.rpartition("_")[2]) == 3][:_TURNED]
        images = [as_rgb(archive.read(name)) for name in names]
    seen = [(image, teacher(image)) for image in images]
    sure = [(image, faces[faces.scores >= 0.85]) for image, faces in seen]
    return [(image, faces.boxes[0], faces.landmarks[0]) for image, faces in sure if len(faces) == 1]


def turned(detect: Detect, photographs: list[tuple[Image, Floats, Floats]]) -> dict[str, Any]:
    """For each angle the share of faces found, and the median landmark error in eye distances."""
    found: dict[str, Any] = {"photographs": len(photographs)}
    for angle in ANGLES:
        hits, errors = 0, []
        for image, box, marks in photographs:
            view, box, marks = turn(image, box, marks, angle)
            faces = detect(view)
            overlap = iou_matrix(faces.boxes, box[None])[:, 0]
            if len(faces) and overlap.max() >= MATCH_IOU:
                hits += 1
                miss = np.linalg.norm(faces.landmarks[overlap.argmax()] - marks, axis=1).mean()
                errors.append(miss / np.linalg.norm(marks[1] - marks[0]))
        share = round(hits / max(1, len(photographs)), 4)
        found[str(angle)] = {"found": share, "landmark_error": round(float(np.median(errors)), 4) if errors else None}
    return found


def turn(image: Image, box: Floats, marks: Floats, angle: float) -> tuple[Image, Floats, Floats]:
    """An image turned around its middle and fitted to 640 px, and its face's box and landmarks there."""
    height, width = image.shape[:2]
    side = int(np.hypot(height, width))
    scale = min(1.0, 640 / side)
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale), np.float64)
    matrix[:, 2] += side * scale / 2 - np.array([width, height]) / 2
    canvas = (round(side * scale),) * 2
    view = np.asarray(cv2.warpAffine(image, matrix, canvas, flags=cv2.INTER_AREA), np.uint8)
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    middle, reach = matrix[:, :2] @ middle + matrix[:, 2], np.sqrt(matrix[:, :2] ** 2 @ half**2)
    placed = np.concatenate([middle - reach, middle + reach]).astype(np.float32)
    return view, placed, (marks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def large(detector: FaceDetector, faces: Path, size: tuple[int, int] = (4000, 3000), px: int = 60) -> dict[str, Any]:
    """How many of 60 pasted faces of ``px`` are found in an image of ``size``, and the seconds it took."""
    width, height = size
    noise = np.random.default_rng(0).integers(60, 200, (height // 16, width // 16, 3), dtype=np.uint8)
    image = np.asarray(cv2.resize(cv2.GaussianBlur(noise, (0, 0), 3), size), np.uint8)
    places = []
    for row, chip in enumerate(_pasted(faces, round(px / 0.62))):
        x, y = int((row % 10 + 0.5) * width / 10), int((row // 10 + 0.5) * height / 6)
        half = chip.shape[0] // 2
        image[y - half : y - half + chip.shape[0], x - half : x - half + chip.shape[1]] = chip
        places.append((x, y))
    started = time.perf_counter()
    found = detector(image, min_face=24)
    seconds = time.perf_counter() - started
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    near = [bool(len(middles)) and np.abs(middles - place).max(axis=1).min() < 0.4 * px for place in places]
    return {"faces": len(places), "found": int(sum(near)), "others": len(found) - int(sum(near)), "seconds": seconds}


def _pasted(path: Path, side: int) -> Iterator[Image]:
    with ZipFile(path) as archive:
        for name in archive.namelist()[: 60 * 37 : 37]:
            image = as_rgb(archive.read(name))
            yield np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def measure(options: argparse.Namespace) -> Results:
    """Every figure of every model."""
    more, models = options.data / "more", options.data.parent / "models"
    yunet = FaceDetector(models / "face_detection_yunet_2026may.onnx", threads=options.threads, longest_px=1280)
    yunet.score_threshold = YUNET_SCORE
    turned_set = turned_photographs(options.turned, yunet)
    rows = {}
    detectors = {path.stem: FaceDetector(path, threads=options.threads) for path in options.model}
    for name, detector in {**detectors, "yunet": yunet}.items():
        rows[name] = {
            "score_threshold": detector.score_threshold,
            "street": street(detector, more / "masks.zip", more / "masks.json") | empty(detector, options.empty),
            "turned": turned(detector, turned_set),
            "large": large(detector, options.data / "utkface" / "utkface-fold2.zip"),
        }
        detector.close()
    return {"fold": FOLD, "smallest_px": SMALLEST_PX, "models": rows, "machine": fingerprint()}


def tables(results: Results) -> Tables:
    """The tables of the card."""
    street_rows, turned_rows = [], []
    for name, found in results["models"].items():
        row, large_row = found["street"], found["large"]
        rates = [f"{100 * row[key]:.1f} %" for key in ("recall", "bare", "masked")]
        pasted = f"{large_row['found']} of {large_row['faces']}"
        street_rows.append((name, f"{found['score_threshold']:g}", *rates, f"{row['false_per_image']:.3f}", pasted))
        turned_rows.append((name, *(_angle(found["turned"][str(angle)]) for angle in ANGLES)))
    columns = ("detector", "score from", "recall", "bare", "masked", "false faces per empty image", "60 px in 12 MP")
    return {
        "detector_street": markdown(columns, street_rows),
        "detector_street_turned": markdown(("found (landmark error)", *(f"{a}°" for a in ANGLES)), turned_rows),
    }


def _angle(found: dict[str, Any]) -> str:
    error = found["landmark_error"]
    return f"{100 * found['found']:.0f} %" + (f" ({100 * error:.0f} %)" if error is not None else "")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=DATA, help="the data folder (default: ../shared/data)")
    parser.add_argument("--empty", type=Path, required=True, help="zip of photographs; n/… show no person")
    parser.add_argument("--turned", type=Path, required=True, help="zip of UTKFace's photographs before they were cut")
    parser.add_argument("--model", type=Path, action="append", default=[], help="an ONNX file, repeatable")
    parser.add_argument("--threads", type=int, default=1)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""

    def measured(options: argparse.Namespace) -> Results:
        options.model = options.model or [shipped_model("detector.onnx")]
        return measure(options)

    return run_script(__doc__, measured, tables, arguments, _options)


if __name__ == "__main__":
    sys.exit(main())
