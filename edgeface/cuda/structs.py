"""The kernels' sources, and the structs their functions take as NumPy types.

``*.h`` hold the arithmetic, for host and device; ``kernels.cu`` launches it; ``host.h`` loops over it on the CPU.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.imaging.geometry import Letterbox

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "kernels.cu"

LIMIT = 1000
"""The best candidates of a frame that count, as in ``postprocess.nms``; the overlap table holds up to 1,024."""
TABLE_WORDS = 32
FACE_BYTES = 60
FACE_FLOATS = 15
SPAN = np.dtype([("first", "i4"), ("last", "i4"), ("head", "f4"), ("inner", "f4"), ("tail", "f4")])
SAMPLING_BYTES = 28
MAX_LEVELS = 8


def _struct(*members: tuple[Any, ...]) -> np.dtype[Any]:
    """A struct as a C++ compiler lays it out."""
    return np.dtype(list(members), align=True)


IMAGE = _struct(("data", "u8"), ("width", "i4"), ("height", "i4"), ("stride", "i8"))
NV12 = _struct(
    ("luma", "u8"), ("chroma", "u8"), ("width", "i4"), ("height", "i4"), ("luma_stride", "i8"), ("chroma_stride", "i8")
)
YUV_MATRIX = _struct(*((name, "f4") for name in ("offset", "luma", "cr_r", "cb_g", "cr_g", "cb_b")))
LETTERBOX = _struct(
    ("scale_x", "f8"),
    ("scale_y", "f8"),
    *((name, "i4") for name in ("width", "height", "canvas_width", "canvas_height")),
)
MAPS = _struct(("score", "u8"), ("box", "u8"), ("landmarks", "u8"))
GRID = _struct(("canvas_width", "i4"), ("canvas_height", "i4"), ("levels", "i4"), ("strides", "i4", (4,)))

ARGUMENTS: dict[str, np.dtype[Any]] = {
    "rgb_from_nv12": _struct(("picture", NV12), ("matrix", YUV_MATRIX), ("rgb", IMAGE)),
    "rgb_from_bgr": _struct(("bgr", IMAGE), ("rgb", IMAGE)),
    "fit_canvas": _struct(
        ("picture", IMAGE), ("canvas", IMAGE), ("fit", LETTERBOX), ("columns", "u8"), ("rows", "u8")
    ),
    "select_candidates": _struct(
        ("maps", MAPS), ("anchors", "i4"), ("threshold", "f4"), ("found", "u8"), ("picked", "u8")
    ),
    "rank_candidates": _struct(
        ("maps", MAPS), ("anchors", "i4"), ("limit", "i4"), ("found", "u8"), ("picked", "u8"), ("order", "u8")
    ),
    "decode_candidates": _struct(
        ("maps", MAPS),
        ("grid", GRID),
        ("limit", "i4"),
        ("found", "u8"),
        ("order", "u8"),
        ("boxes", "u8"),
        ("faces", "u8"),
        ("visible", "u8"),
        ("fit", LETTERBOX),
        ("width", "i4"),
        ("height", "i4"),
    ),
    "mark_overlaps": _struct(
        ("limit", "i4"), ("found", "u8"), ("boxes", "u8"), ("iou_threshold", "f8"), ("table", "u8")
    ),
    "suppress": _struct(
        ("limit", "i4"), ("found", "u8"), ("table", "u8"), ("faces", "u8"), ("visible", "u8"), ("count", "u8"),
        ("kept", "u8"),
    ),
    "halve": _struct(("above", IMAGE), ("below", IMAGE)),
    "plan_crops": _struct(
        ("faces", "u8"), ("count", "u8"), ("plans", "u8"), ("target", "f8", (10,)), ("first", "i4"), ("crops", "i4"),
        ("width", "i4"), ("height", "i4"),
    ),
    "crop_faces": _struct(
        ("picture", IMAGE), ("halves", "u8"), ("plans", "u8"), ("count", "u8"), ("crops", "u8"), ("first", "i4"),
        ("size", "i4"),
    ),
}  # fmt: skip
"""The one parameter of every kernel in ``kernels.cu``, by the kernel's name."""


def arguments(kernel: str, **values: Any) -> NDArray[Any]:
    """The struct of ``kernel`` with these values: a structured array ``[]``. ``KeyError`` where one is missing."""
    layout = ARGUMENTS[kernel]
    packed = np.zeros((), layout)
    for name in layout.names or ():
        packed[name] = values[name]
    return packed


def letterbox_tuple(fit: Letterbox) -> tuple[float, float, int, int, int, int]:
    """``fit`` as the kernels' ``Letterbox``."""
    return fit.scale_x, fit.scale_y, fit.width, fit.height, fit.canvas_width, fit.canvas_height


def canvas_spans(source: int, target: int, shrinks: bool) -> NDArray[Any]:
    """How each of ``target`` columns or rows of a fitted image is made of ``source`` pixels: ``SPAN`` ``[target]``.

    ``canvas_span`` of ``letterbox.h`` for all of them, where that is explained.
    """
    spans = np.zeros(target, SPAN)
    if shrinks:
        scale = source / target
        begin = np.arange(target) * scale
        end = begin + scale
        extent = np.minimum(scale, source - begin)
        last = np.minimum(np.floor(end), source - 1)
        whole = np.minimum(np.ceil(begin), last)
        rest = np.minimum(np.minimum(end - last, 1.0), extent)
        spans["first"], spans["last"], spans["inner"] = whole - 1, last, 1 / extent
        spans["head"] = np.where(whole - begin > 1e-3, (whole - begin) / extent, 0)
        spans["tail"] = np.where(end - last > 1e-3, rest / extent, 0)
        return spans
    at = (np.arange(target) + 0.5) * source / target - 0.5
    low = np.floor(at)
    share = (at - low).astype(np.float32)
    edge = (low < 0) | (low >= source - 1)
    spans["first"] = np.clip(low, 0, source - 1)
    spans["last"] = np.where(edge, spans["first"], spans["first"] + 1)
    spans["head"] = np.where(edge, 1, 1 - share)
    spans["tail"] = np.where(edge, 0, share)
    return spans


def level_sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Width and height of an image and of all its halves, the image first (``halvings`` of ``align.h``)."""
    sizes = [(width, height)]
    while len(sizes) < MAX_LEVELS and min(sizes[-1]) >= 2:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def digest() -> str:
    """Hex sha256 of everything the compiled kernels depend on."""
    sources = sorted([*FOLDER.glob("*.h"), SOURCE])
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in sources)).hexdigest()
