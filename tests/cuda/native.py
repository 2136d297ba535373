"""The kernels' host build as NumPy functions: compiled once per source by the C++ compiler, called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.common.files import atomic_path, cache_dir
from edgeface.imaging.geometry import Letterbox
from edgeface.types import Faces
from tests.conftest import ROOT

HEADERS = ROOT / "edgeface" / "cuda"
SOURCE = Path(__file__).with_name("host.cpp")
FLAGS = ("-std=c++17", "-O3", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffp-contract=off", "-shared", "-fPIC")


class CLetterbox(ctypes.Structure):
    _fields_ = [("scale_x", ctypes.c_double), ("scale_y", ctypes.c_double)] + [
        (name, ctypes.c_int) for name in ("width", "height", "canvas_width", "canvas_height")
    ]

    @classmethod
    def of(cls, fit: Letterbox) -> CLetterbox:
        return cls(*(getattr(fit, name) for name, _ in cls._fields_))


class CGrid(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("canvas_width", "canvas_height", "levels")] + [
        ("strides", ctypes.c_int * 4)
    ]


@cache
def library() -> Any:
    """The compiled host build; skips where there is no C++ compiler."""
    compiler = shutil.which("c++") or shutil.which("g++") or pytest.skip("no C++ compiler: apt install g++")
    sources = sorted([*HEADERS.glob("*.h"), SOURCE])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + " ".join(FLAGS).encode())
    path = cache_dir() / "tests" / f"kernels-{digest.hexdigest()[:16]}.so"
    if not path.is_file():
        with atomic_path(path) as made:
            command = [compiler, *FLAGS, f"-I{HEADERS}", str(SOURCE), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(path))
    loaded.iou.restype = ctypes.c_double
    return loaded


def address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def stride(array: np.ndarray) -> ctypes.c_int64:
    return ctypes.c_int64(array.strides[0])


def rgb_from_nv12(
    luma: np.ndarray, chroma: np.ndarray, weights: tuple[float, float], full: bool, out: np.ndarray
) -> None:
    """``luma`` uint8 ``[H, W]``, ``chroma`` uint8 ``[H/2, W/2, 2]`` rounded up, rows of any stride."""
    red, blue = map(ctypes.c_double, weights)
    planes = address(luma), stride(luma), address(chroma), stride(chroma)
    library().rgb_from_nv12(*planes, luma.shape[1], luma.shape[0], red, blue, int(full), address(out), stride(out))


def rgb_from_bgr(picture: np.ndarray, out: np.ndarray) -> None:
    height, width = picture.shape[:2]
    library().rgb_from_bgr(address(picture), stride(picture), width, height, address(out), stride(out))


def letterbox(width: int, height: int, longest_px: int, multiple: int, upscale: float) -> Letterbox:
    fit = CLetterbox()
    library().fit_letterbox(width, height, longest_px, multiple, ctypes.c_double(upscale), ctypes.byref(fit))
    return Letterbox(*(getattr(fit, name) for name, _ in CLetterbox._fields_))


def fit_canvas(picture: np.ndarray, fit: Letterbox) -> np.ndarray:
    canvas = np.full((fit.canvas_height, fit.canvas_width, 3), 77, np.uint8)
    height, width = picture.shape[:2]
    box = ctypes.byref(CLetterbox.of(fit))
    library().fit_canvas(address(picture), stride(picture), width, height, box, address(canvas))
    return canvas


def fit_canvas_pixel_by_pixel(picture: np.ndarray, fit: Letterbox) -> np.ndarray:
    """As the GPU's threads do it."""
    canvas = np.full((fit.canvas_height, fit.canvas_width, 3), 77, np.uint8)
    height, width = picture.shape[:2]
    box = ctypes.byref(CLetterbox.of(fit))
    library().fit_canvas_pixel_by_pixel(address(picture), stride(picture), width, height, box, address(canvas))
    return canvas


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """float64 ``[2, 3]``, or ``None`` where there is none."""
    source, target = (np.ascontiguousarray(points, np.float64) for points in (source, target))
    matrix = np.empty((2, 3))
    return matrix if library().similarity(address(source), address(target), address(matrix)) else None


def find_faces(
    maps: tuple[np.ndarray, np.ndarray, np.ndarray],
    strides: tuple[int, ...],
    threshold: float,
    iou: float,
    limit: int,
    fit: Letterbox,
    size: tuple[int, int],
    capacity: int = 1000,
) -> tuple[Faces, int]:
    """The faces written, and how many there are; ``size`` is the image's (width, height)."""
    grid = CGrid(fit.canvas_width, fit.canvas_height, len(strides), (ctypes.c_int * 4)(*strides))
    rows = np.zeros((capacity, 15), np.float32)
    score, box, landmarks = (np.ascontiguousarray(part, np.float32) for part in maps)
    count = library().find_faces(
        address(score),
        address(box),
        address(landmarks),
        ctypes.byref(grid),
        ctypes.c_float(threshold),
        ctypes.c_double(iou),
        limit,
        ctypes.byref(CLetterbox.of(fit)),
        *size,
        address(rows),
        capacity,
    )
    rows = rows[: min(count, capacity)]
    return Faces(rows[:, :4], rows[:, 4], rows[:, 5:].reshape(-1, 5, 2)), count


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float(library().iou(address(first), address(second)))


def crop_faces(picture: np.ndarray, faces: Faces, target: np.ndarray, size: int) -> np.ndarray:
    """uint8 ``[N, size, size, 3]``; ``target`` float64 ``[5, 2]`` in pixels of a crop."""
    rows = np.concatenate([faces.boxes, faces.scores[:, None], faces.landmarks.reshape(-1, 10)], axis=1)
    rows = np.ascontiguousarray(rows, np.float32)
    target = np.ascontiguousarray(target, np.float64)
    crops = np.empty((len(faces), size, size, 3), np.uint8)
    height, width = picture.shape[:2]
    library().crop_faces(
        address(picture), stride(picture), width, height, address(rows), len(faces), address(target), size,
        address(crops),
    )  # fmt: skip
    return crops
