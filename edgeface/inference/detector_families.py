"""Face detectors this pipeline can run, each recognised by its output signature.

A family says how a canvas (uint8 ``[H, W, 3]`` RGB, see ``preprocess.fit_canvas``) becomes its input and how its
outputs become candidate faces in canvas pixels; fitting, suppression and the way back to the image are shared.

| family    | outputs                                              | input                              | landmarks |
|-----------|------------------------------------------------------|------------------------------------|-----------|
| edgeface  | score, box, landmarks; metadata `edgeface.detector`  | uint8 NHWC RGB                     | yes       |
| YuNet     | {cls,obj,bbox,kps}_{8,16,32}                         | float32 NCHW BGR 0…255             | yes       |
| UltraFace | scores, boxes                                        | float32 NCHW RGB (x - 127) / 128   | no        |
| SCRFD     | nine, last sizes 1,1,1, 4,4,4, 10,10,10, any names   | float32 NCHW RGB (x - 127.5) / 128 | yes       |

Sources: Wu, Peng, Yu, "YuNet: a tiny millisecond-level face detector", 2023, and OpenCV Zoo's demo;
Linzaer's Ultra-Light-Fast-Generic-Face-Detector-1MB; Guo et al., "Sample and computation redistribution for efficient
face detection", ICLR 2022, and InsightFace's ``detection/scrfd/tools/scrfd.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ArtifactError
from edgeface.imaging.postprocess import decode_detector, kept_anchors
from edgeface.inference.outputs import checked_maps
from edgeface.runtime.base import TensorInfo
from edgeface.spec.model import DetectorSpec
from edgeface.types import Faces, Floats, Image

Outputs = Mapping[str, NDArray[Any]]
Encode = Callable[[Image], NDArray[Any]]
Decode = Callable[[Outputs, tuple[int, int], float], Faces]
"""Outputs, the canvas' (width, height) in pixels and a score threshold → candidates in canvas pixels, before NMS."""

_STRIDES = (8, 16, 32)
SUPPORTED = "edgeface's own, YuNet, UltraFace and SCRFD"


@dataclass(frozen=True)
class Family:
    """How to run a kind of detector, with the settings its authors use."""

    name: str
    encode: Encode
    decode: Decode
    score_threshold: float
    nms_iou: float
    longest_px: int = 640
    multiple: int = 32
    upscale: float = 1.0


def recognise(outputs: tuple[TensorInfo, ...], spec: DetectorSpec | None, where: str) -> Family:
    """The family these ``outputs`` belong to; a ``spec`` means one of ours.

    Raises ``ArtifactError`` naming what ``where`` has and what is supported.
    """
    names = {info.name for info in outputs}
    if spec is not None and names == {"score", "box", "landmarks"}:
        return _edgeface(spec)
    if names == {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in _STRIDES}:
        return Family("YuNet", lambda canvas: _nchw(canvas[..., ::-1], 0.0, 1.0), _decode_yunet, 0.7, 0.3)
    if names == {"scores", "boxes"}:
        return Family("UltraFace", lambda canvas: _nchw(canvas, 127.0, 128.0), _decode_ultraface, 0.7, 0.3)
    if [info.shape[-1] if info.shape else None for info in outputs] == [1] * 3 + [4] * 3 + [10] * 3:
        order = tuple(info.name for info in outputs)
        return Family(
            "SCRFD",
            lambda canvas: _nchw(canvas, 127.5, 128.0),
            lambda answers, size, threshold: _decode_scrfd([answers[name] for name in order], size, threshold),
            0.5,
            0.4,
        )
    found = ", ".join(f"{info.name} {tuple('?' if size is None else size for size in info.shape)}" for info in outputs)
    raise ArtifactError(
        f"{where} is no face detector that edgeface knows: its outputs are {found}; supported are {SUPPORTED} "
        "(recognised by their outputs)"
    )


def _edgeface(spec: DetectorSpec) -> Family:
    def decode(outputs: Outputs, canvas: tuple[int, int], threshold: float) -> Faces:
        score, box, landmarks = checked_maps(outputs, len(kept_anchors(*canvas, spec.strides)[1]), spec.name)
        return decode_detector(score, box, landmarks, canvas, spec.strides, threshold)

    return Family(
        "edgeface",
        lambda canvas: canvas[None],
        decode,
        spec.score_threshold,
        spec.nms_iou,
        spec.longest_px,
        spec.multiple,
        spec.upscale,
    )


def _decode_yunet(outputs: Outputs, canvas: tuple[int, int], threshold: float) -> Faces:
    """Score is the geometric mean of class and objectness; boxes are centre offsets and log sizes in strides."""
    cls, obj, bbox, kps = (
        np.concatenate([outputs[f"{kind}_{stride}"][0] for stride in _STRIDES])
        for kind in ("cls", "obj", "bbox", "kps")
    )
    scores = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))[:, 0]
    picked = np.flatnonzero(scores >= threshold)
    cells, steps = _cell_corners(canvas, picked)
    centres = cells + bbox[picked, :2] * steps
    halves = np.exp(bbox[picked, 2:]) * steps / 2
    landmarks = _landmarks(kps[picked], cells, steps)
    return Faces(np.concatenate([centres - halves, centres + halves], axis=1), scores[picked], landmarks)


def _decode_ultraface(outputs: Outputs, canvas: tuple[int, int], threshold: float) -> Faces:
    """Scores are (background, face); boxes are xyxy as fractions of the canvas."""
    scores, boxes = outputs["scores"][0][:, 1], outputs["boxes"][0]
    picked = np.flatnonzero(scores >= threshold)
    no_landmarks = np.full((len(picked), 5, 2), np.nan, np.float32)
    return Faces(boxes[picked] * np.array([*canvas, *canvas], np.float32), scores[picked], no_landmarks)


def _decode_scrfd(outputs: list[NDArray[Any]], canvas: tuple[int, int], threshold: float) -> Faces:
    """Two anchors a cell at its top-left corner; distances to the box' sides and landmark offsets in strides.

    Its maps come with or without a batch of one, hence the reshape.
    """
    scores, reach, offsets = (
        np.concatenate([outputs[first + level].reshape(-1, width) for level in range(3)])
        for first, width in ((0, 1), (3, 4), (6, 10))
    )
    picked = np.flatnonzero(scores[:, 0] >= threshold)
    cells, steps = _cell_corners(canvas, picked // 2)
    reach = reach[picked] * steps
    landmarks = _landmarks(offsets[picked], cells, steps)
    return Faces(np.concatenate([cells - reach[:, :2], cells + reach[:, 2:]], axis=1), scores[picked, 0], landmarks)


def _landmarks(offsets: NDArray[Any], cells: Floats, steps: Floats) -> Floats:
    """Offsets ``[N, 10]`` in strides from ``cells`` → points ``[N, 5, 2]`` in pixels."""
    return (cells[:, None] + offsets.reshape(-1, 5, 2) * steps[:, None]).astype(np.float32)


def _cell_corners(canvas: tuple[int, int], rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Top-left corners ``[N, 2]`` in pixels and strides ``[N, 1]`` of the cells numbered ``rows``."""
    points, steps = kept_anchors(*canvas, _STRIDES)
    points, steps = points[rows], steps[rows, None]
    return (points - steps / 2).astype(np.float32), steps


def _nchw(canvas: Image, mean: float, scale: float) -> Floats:
    """uint8 ``[H, W, 3]`` → float32 ``[1, 3, H, W]`` of ``(x - mean) / scale``."""
    planes = canvas.transpose(2, 0, 1)[None].astype(np.float32)
    return np.ascontiguousarray((planes - np.float32(mean)) / np.float32(scale))
