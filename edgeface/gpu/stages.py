"""The stages of a frame on the GPU, each queued on a stream.

Buffers are made once for a size and never move, so that what is queued can be captured as a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeface.cuda.context import Context, DeviceBuffer, Kernels, PinnedBuffer
from edgeface.cuda.stream import Stream
from edgeface.cuda.structs import (
    FACE_BYTES,
    LIMIT,
    SAMPLING_BYTES,
    TABLE_WORDS,
    arguments,
    canvas_spans,
    letterbox_tuple,
    level_sizes,
)
from edgeface.gpu.device_frame import DeviceFrame
from edgeface.gpu.result_layout import ResultLayout, bucket_for
from edgeface.imaging.geometry import Letterbox
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
    """Colour, canvas, faces and halves of one image of ``size`` (width, height) at a time."""

    def __init__(
        self, context: Context, launch: Launcher, settings: DetectorSettings, fit: Letterbox, size: tuple[int, int]
    ) -> None:
        self._context, self._launch, self._settings, self.fit = context, launch, settings, fit
        self.width, self.height = size
        self._sizes = level_sizes(*size)
        self._anchors = anchor_count(fit, settings.strides)
        self._buffers: list[DeviceBuffer] = []
        self.picture = self._buffer(3 * self.width * self.height)
        self.halves = self._buffer(sum(3 * w * h for w, h in self._sizes[1:]))
        self._columns, self._rows = self._spans()
        self._found, self._picked = self._buffer(4), self._buffer(4 * self._anchors)
        self._order, self._boxes = self._buffer(4 * LIMIT), self._buffer(16 * LIMIT)
        self._faces, self._visible = self._buffer(FACE_BYTES * LIMIT), self._buffer(4 * LIMIT)
        self._table = self._buffer(4 * TABLE_WORDS * LIMIT)

    def _buffer(self, size: int) -> int:
        self._buffers.append(DeviceBuffer(self._context, size))
        return self._buffers[-1].address

    def _spans(self) -> tuple[int, int]:
        """The spans of columns and rows in the GPU's memory, copied once for this size."""
        shrinks = self.fit.width < self.width
        columns = canvas_spans(self.width, self.fit.width, shrinks)
        rows = canvas_spans(self.height, self.fit.height, shrinks)
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
            planes = (frame.address, frame.chroma or frame.address + frame.height * frame.stride)
            picture = (*planes, frame.width, frame.height, frame.stride, frame.stride)
            matrix = yuv_matrix(*_MATRICES[frame.bt709], frame.full_range)
            self._launch("rgb_from_nv12", extent, _TILE, picture=picture, matrix=matrix, rgb=_image(rgb))
        return rgb

    def fit_canvas(self, picture: DeviceFrame, canvas: int) -> None:
        """Queue the scaling of the RGB image into the canvas at this address."""
        fit = self.fit
        extent = (fit.canvas_width, fit.canvas_height, 1)
        image = (canvas, fit.canvas_width, fit.canvas_height, 3 * fit.canvas_width)
        tables = {"columns": self._columns, "rows": self._rows}
        self._launch(
            "fit_canvas", extent, _TILE, picture=_image(picture), canvas=image, fit=letterbox_tuple(fit), **tables
        )

    def find(self, maps: tuple[int, ...], count: int, kept: int) -> None:
        """Queue the way from the detector's maps (score, box, landmarks) to the faces that are ``kept``."""
        launch, fit, settings = self._launch, self.fit, self._settings
        strides = (*settings.strides, *[1] * (4 - len(settings.strides)))
        common: dict[str, Any] = {"maps": maps, "found": self._found}
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
        self._suppress(count, kept)

    def _suppress(self, count: int, kept: int) -> None:
        launch, words = self._launch, TABLE_WORDS
        every: dict[str, Any] = {"limit": LIMIT, "found": self._found, "table": self._table}
        faces: dict[str, Any] = {"faces": self._faces, "visible": self._visible, "kept": kept}
        overlaps: dict[str, Any] = {"boxes": self._boxes, "iou_threshold": self._settings.nms_iou}
        launch("mark_overlaps", (words, LIMIT, 1), (words, 4, 1), **every, **overlaps)
        launch("suppress", (words, 1, 1), (words, 1, 1), **every, **faces, count=count)

    def halve(self, picture: DeviceFrame) -> None:
        """Queue the making of the image's halves, each from the one above."""
        above, below = _image(picture), self.halves
        for width, height in self._sizes[1:]:
            half = (below, width, height, 3 * width)
            self._launch("halve", (width, height, 1), _TILE, above=above, below=half)
            above, below = half, below + 3 * width * height

    def close(self) -> None:
        """Free all buffers."""
        for buffer in self._buffers:
            buffer.free()


class DetectorStage:
    """The detector on ``count`` canvases of one size at once."""

    def __init__(
        self, context: Context, launch: Launcher, detector: DeviceEngine, fit: Letterbox, anchors: int, count: int
    ) -> None:
        self._stream = launch.stream
        self._canvas_bytes, self._anchors = 3 * fit.canvas_width * fit.canvas_height, anchors
        sizes = {"score": 4, "box": 16, "landmarks": 40}
        self._map_bytes = {name: size * anchors for name, size in sizes.items()}
        self._canvases = DeviceBuffer(context, count * self._canvas_bytes)
        self._maps = {name: DeviceBuffer(context, count * size) for name, size in self._map_bytes.items()}
        addresses = {name: buffer.address for name, buffer in self._maps.items()}
        image = detector.inputs[0].name
        shapes = {
            image: (count, fit.canvas_height, fit.canvas_width, 3),
            "score": (count, anchors),
            "box": (count, anchors, 4),
            "landmarks": (count, anchors, 10),
        }
        self._call: DeviceCall = detector.bind(shapes, {image: self._canvases.address, **addresses})

    def canvas(self, number: int) -> int:
        """The address of a canvas."""
        return self._canvases.address + number * self._canvas_bytes

    def maps(self, number: int) -> tuple[int, ...]:
        """The addresses of score, box and landmarks of a canvas."""
        return tuple(self._maps[name].address + number * size for name, size in self._map_bytes.items())

    def enqueue(self) -> None:
        """Queue the network."""
        self._call.enqueue(self._stream.handle)

    def close(self) -> None:
        """Let go of the binding and free all buffers."""
        self._call.close()
        for buffer in (self._canvases, *self._maps.values()):
            buffer.free()


class Look(NamedTuple):
    """The image ``number`` of the result block, whose faces are to be looked at."""

    picture: DeviceFrame
    halves: int
    number: int


class CropStages:
    """Crops of the faces in the result ``block`` and their attributes, a bucket at a time.

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
        layout: ResultLayout,
        buckets: tuple[int, ...],
    ) -> None:
        self._launch, self._network, self._size, self._target = launch, network, size, target
        self._block, self._layout, self._buckets = block, layout, buckets
        self._crop_bytes = 3 * size * size
        self._crops = DeviceBuffer(context, self._crop_bytes * buckets[-1] + 3)
        self._plans = DeviceBuffer(context, SAMPLING_BYTES * buckets[-1])
        self._calls: dict[int, DeviceCall] = {}
        launch.stream.clear(self._crops.address, -(-self._crop_bytes * buckets[-1] // 4))

    def crop(self, looks: Sequence[Look], first: int, faces: int) -> None:
        """Queue the crops of ``faces`` faces of each image, from the one numbered ``first`` on."""
        for place, look in enumerate(looks):
            self._crop(look, first, faces, place * faces)

    def enqueue(self, crops: int) -> None:
        """Queue the network on the first ``crops`` crops, or a few more."""
        self._call(bucket_for(crops, self._buckets)).enqueue(self._launch.stream.handle)

    def _crop(self, look: Look, first: int, faces: int, row: int) -> None:
        launch, size, picture = self._launch, self._size, look.picture
        count = self._block + self._layout.count_at(look.number)
        plans = self._plans.address + SAMPLING_BYTES * row
        shared: dict[str, Any] = {"count": count, "plans": plans, "first": first}
        found = self._block + self._layout.faces_at(look.number)
        launch(
            "plan_crops", (faces, 1, 1), (32, 1, 1), faces=found, target=self._target, crops=faces,
            width=picture.width, height=picture.height, **shared,
        )  # fmt: skip
        launch(
            "crop_faces", (size, size, faces), (16, 16, 1), picture=_image(picture), halves=look.halves,
            crops=self._crops.address + self._crop_bytes * row, size=size, **shared,
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the network's bindings."""
        while self._calls:
            self._calls.popitem()[1].close()

    def _call(self, bucket: int) -> DeviceCall:
        if bucket not in self._calls:
            name = self._network.inputs[0].name
            outputs = self._layout.addresses(self._block)
            shapes = {name: (bucket, self._size, self._size, 3), **self._layout.shapes(bucket)}
            self._calls[bucket] = self._network.bind(shapes, {name: self._crops.address, **outputs})
        return self._calls[bucket]


def anchor_count(fit: Letterbox, strides: Sequence[int]) -> int:
    """How many anchors the detector has on a canvas."""
    return sum((fit.canvas_width // stride) * (fit.canvas_height // stride) for stride in strides)


def yuv_matrix(red: float, blue: float, full_range: bool) -> tuple[float, ...]:
    """``yuv_matrix`` of ``colour.h``: how Y, Cb and Cr become RGB by a standard's luma weights."""
    luma, chroma = (1.0, 1.0) if full_range else (255 / 219, 255 / 224)
    cr, cb, green = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma, 1 - red - blue
    return (0.0 if full_range else 16.0, luma, cr, -cb * blue / green, -cr * red / green, cb)


def _image(frame: DeviceFrame) -> tuple[int, int, int, int]:
    """``frame`` as the kernels' image struct."""
    return frame.address, frame.width, frame.height, frame.stride
