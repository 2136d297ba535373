"""The stages of a frame on the GPU, each queued on a stream: everything for pictures of one size.

Buffers are made once for a size and never move, so that what is queued can be captured as a graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.cuda import (
    FACE_BYTES,
    LIMIT,
    SAMPLING_BYTES,
    TABLE_WORDS,
    arguments,
    canvas_spans,
    letterbox_tuple,
    level_sizes,
)
from edgeface.geometry import Letterbox
from edgeface.pipeline.gpu_frames import DeviceFrame
from edgeface.runtime.cuda_context import Context, DeviceBuffer, Kernels, PinnedBuffer, Stream
from edgeface.runtime.device_engine import DeviceCall, DeviceEngine

_LINE = 128
_TILE = (32, 8, 1)
_MATRICES = {False: (0.299, 0.114), True: (0.2126, 0.0722)}
"""Weights of red and blue in BT.601 and BT.709."""


@dataclass(frozen=True)
class DetectorSettings:
    """What the detector's stages need to know."""

    strides: tuple[int, ...]
    threshold: float
    nms_iou: float


class Launcher:
    """Queues kernels by name on one stream, with as many threads as there is work."""

    def __init__(self, kernels: Kernels, stream: Stream) -> None:
        self._functions, self.stream = kernels.functions, stream

    def __call__(
        self, kernel: str, extent: tuple[int, int, int], threads: tuple[int, int, int] = (_LINE, 1, 1), **values: Any
    ) -> None:
        """Run ``kernel`` over ``extent`` (columns, rows, layers) in blocks of ``threads``."""
        columns, rows, layers = (-(-size // step) for size, step in zip(extent, threads))
        self.stream.launch(self._functions[kernel], (columns, rows, layers), threads, arguments(kernel, **values))


class PictureStages:
    """Colour, canvas, detector, faces and halves of pictures of one size.

    ``block`` is the result block (``gpu_layout``), whose faces lie at ``faces``.
    """

    def __init__(
        self,
        context: Context,
        launch: Launcher,
        detector: DeviceEngine,
        settings: DetectorSettings,
        fit: Letterbox,
        size: tuple[int, int],
        block: int,
        faces: int,
    ) -> None:
        self._context, self._launch, self._settings, self._fit = context, launch, settings, fit
        self.width, self.height = size
        self._block, self._kept = block, faces
        self._sizes = level_sizes(*size)
        cells = [(fit.canvas_width // s) * (fit.canvas_height // s) for s in settings.strides]
        self._anchors = sum(cells)
        self._buffers: list[DeviceBuffer] = []
        self.picture = self._buffer(3 * self.width * self.height)
        self.halves = self._buffer(sum(3 * w * h for w, h in self._sizes[1:]))
        self._canvas = self._buffer(3 * fit.canvas_width * fit.canvas_height)
        self._columns, self._rows = self._spans()
        self._maps = {
            "score": self._buffer(4 * self._anchors),
            "box": self._buffer(16 * self._anchors),
            "landmarks": self._buffer(40 * self._anchors),
        }
        self._found, self._picked = self._buffer(4), self._buffer(4 * self._anchors)
        self._order, self._boxes = self._buffer(4 * LIMIT), self._buffer(16 * LIMIT)
        self._faces, self._visible = self._buffer(FACE_BYTES * LIMIT), self._buffer(4 * LIMIT)
        self._table = self._buffer(4 * TABLE_WORDS * LIMIT)
        image = detector.inputs[0].name
        self._detector: DeviceCall = detector.bind(
            {image: (1, fit.canvas_height, fit.canvas_width, 3)}, {image: self._canvas, **self._maps}
        )

    def _buffer(self, size: int) -> int:
        self._buffers.append(DeviceBuffer(self._context, size))
        return self._buffers[-1].address

    def _spans(self) -> tuple[int, int]:
        """The spans of columns and rows in the GPU's memory, copied once for this size."""
        shrinks = self._fit.width < self.width
        columns = canvas_spans(self.width, self._fit.width, shrinks)
        rows = canvas_spans(self.height, self._fit.height, shrinks)
        packed = np.concatenate([columns, rows]).view(np.uint8)
        address, pinned = self._buffer(packed.nbytes), PinnedBuffer(self._context, packed.nbytes)
        pinned.array[:] = packed
        self._launch.stream.upload(address, pinned, packed.nbytes)
        self._launch.stream.synchronize()
        pinned.free()
        return address, address + columns.nbytes

    def to_rgb(self, frame: DeviceFrame) -> DeviceFrame:
        """Queue the conversion of a frame that is not RGB into ``picture``, and return that."""
        rgb = DeviceFrame(self.picture, self.width, self.height, 3 * self.width)
        extent = (self.width, self.height, 1)
        if frame.layout == "bgr":
            self._launch("rgb_from_bgr", extent, _TILE, bgr=_image(frame), rgb=_image(rgb))
        else:
            planes = (frame.address, frame.address + frame.height * frame.stride)
            picture = (*planes, frame.width, frame.height, frame.stride, frame.stride)
            matrix = yuv_matrix(*_MATRICES[frame.bt709], frame.full_range)
            self._launch("rgb_from_nv12", extent, _TILE, picture=picture, matrix=matrix, rgb=_image(rgb))
        return rgb

    def detect(self, picture: DeviceFrame) -> None:
        """Queue everything from the RGB picture to its faces in the result block."""
        fit, launch = self._fit, self._launch
        extent = (fit.canvas_width, fit.canvas_height, 1)
        canvas = (self._canvas, fit.canvas_width, fit.canvas_height, 3 * fit.canvas_width)
        tables = {"columns": self._columns, "rows": self._rows}
        launch("fit_canvas", extent, _TILE, picture=_image(picture), canvas=canvas, fit=letterbox_tuple(fit), **tables)
        self._detector.enqueue(launch.stream.handle)
        self._decode()
        self._suppress()

    def _decode(self) -> None:
        launch, fit, settings = self._launch, self._fit, self._settings
        strides = (*settings.strides, *[1] * (4 - len(settings.strides)))
        common: dict[str, Any] = {"maps": tuple(self._maps.values()), "found": self._found}
        candidates: dict[str, Any] = {**common, "anchors": self._anchors, "picked": self._picked}
        ranked: dict[str, Any] = {"limit": LIMIT, "order": self._order}
        rows: dict[str, Any] = {"boxes": self._boxes, "faces": self._faces, "visible": self._visible}
        every = (self._anchors, 1, 1)
        launch.stream.clear(self._found, 1)
        launch("select_candidates", every, threshold=settings.threshold, **candidates)
        launch("rank_candidates", every, **candidates, **ranked)
        launch(
            "decode_candidates",
            (LIMIT, 1, 1),
            grid=(fit.canvas_width, fit.canvas_height, len(settings.strides), strides),
            fit=letterbox_tuple(fit),
            width=self.width,
            height=self.height,
            **common,
            **ranked,
            **rows,
        )

    def _suppress(self) -> None:
        launch, words = self._launch, TABLE_WORDS
        every: dict[str, Any] = {"limit": LIMIT, "found": self._found, "table": self._table}
        kept: dict[str, Any] = {"faces": self._faces, "visible": self._visible, "kept": self._kept}
        overlaps: dict[str, Any] = {"boxes": self._boxes, "iou_threshold": self._settings.nms_iou}
        launch("mark_overlaps", (words, LIMIT, 1), (words, 4, 1), **every, **overlaps)
        launch("suppress", (words, 1, 1), (words, 1, 1), **every, **kept, count=self._block)

    def halve(self, picture: DeviceFrame) -> None:
        """Queue the making of the picture's halves, each from the one above."""
        above, below = _image(picture), self.halves
        for width, height in self._sizes[1:]:
            half = (below, width, height, 3 * width)
            self._launch("halve", (width, height, 1), _TILE, above=above, below=half)
            above, below = half, below + 3 * width * height

    def close(self) -> None:
        """Let go of the detector's binding and free all buffers."""
        del self._detector
        for buffer in self._buffers:
            buffer.free()


class CropStages:
    """Crops of the faces in the result block and their attributes, a bucket at a time.

    ``target`` float64 ``[10]``: the five canonical landmarks x, y in pixels of a ``size``×``size`` crop.
    """

    def __init__(
        self,
        context: Context,
        launch: Launcher,
        network: DeviceEngine,
        size: int,
        target: NDArray[np.float64],
        block: int,
        faces: int,
        outputs: Mapping[str, int],
        largest: int,
    ) -> None:
        self._launch, self._network, self._size, self._target = launch, network, size, target
        self._block, self._faces, self._outputs = block, faces, dict(outputs)
        self._crops = DeviceBuffer(context, 3 * size * size * largest)
        self._plans = DeviceBuffer(context, SAMPLING_BYTES * largest)
        self._calls: dict[int, DeviceCall] = {}
        launch.stream.clear(self._crops.address, 3 * size * size * largest // 4)

    def estimate(self, picture: DeviceFrame, halves: int, first: int, bucket: int) -> None:
        """Queue crops and attributes of ``bucket`` faces from the one numbered ``first`` on."""
        launch, size = self._launch, self._size
        shared: dict[str, Any] = {"count": self._block, "plans": self._plans.address, "first": first}
        launch(
            "plan_crops", (bucket, 1, 1), (32, 1, 1), faces=self._faces, target=self._target, crops=bucket,
            width=picture.width, height=picture.height, **shared,
        )  # fmt: skip
        launch(
            "crop_faces", (size, size, bucket), (16, 16, 1), picture=_image(picture), halves=halves,
            crops=self._crops.address, size=size, **shared,
        )  # fmt: skip
        self._call(bucket).enqueue(launch.stream.handle)

    def close(self) -> None:
        """Let go of the network's bindings."""
        self._calls.clear()

    def _call(self, bucket: int) -> DeviceCall:
        if bucket not in self._calls:
            name = self._network.inputs[0].name
            shape = (bucket, self._size, self._size, 3)
            self._calls[bucket] = self._network.bind({name: shape}, {name: self._crops.address, **self._outputs})
        return self._calls[bucket]


def yuv_matrix(red: float, blue: float, full_range: bool) -> tuple[float, ...]:
    """``yuv_matrix`` of ``colour.h``: how Y, Cb and Cr become RGB by a standard's luma weights."""
    luma, chroma = (1.0, 1.0) if full_range else (255 / 219, 255 / 224)
    cr, cb, green = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma, 1 - red - blue
    return (0.0 if full_range else 16.0, luma, cr, -cb * blue / green, -cr * red / green, cb)


def _image(frame: DeviceFrame) -> tuple[int, int, int, int]:
    """``frame`` as the kernels' image struct."""
    return frame.address, frame.width, frame.height, frame.stride
