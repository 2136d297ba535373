"""Memory for images that are answered together: a seat for each of a size, a detector's stage for each number.

Made when first needed and kept for the latest sizes; what has to go takes along the graphs that were captured over it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from edgeface.cuda.context import Context
from edgeface.errors import BackendError
from edgeface.gpu.ring import FrameRing
from edgeface.gpu.stages import DetectorSettings, DetectorStage, Launcher, PictureStages, anchor_count
from edgeface.imaging.geometry import Letterbox, letterbox
from edgeface.runtime.device_engine import DeviceEngine
from edgeface.spec.model import DetectorSpec

Size = tuple[int, int]
_SIZES = 4
_DETECTORS = 16
_SLOTS = 3
"""Pinned frames of a size's first seat, which decoders may write into; the other seats have one."""


class FrameBuffer:
    """Where one image of a size is: its pinned ring on the host, its stages' buffers on the GPU."""

    def __init__(self, context: Context, stages: PictureStages, slots: int) -> None:
        self.stages = stages
        self.ring = FrameRing(context, stages.width, stages.height, slots)

    @property
    def fit(self) -> Letterbox:
        """How the image lies in the detector's canvas."""
        return self.stages.fit

    def close(self) -> None:
        self.ring.close()
        self.stages.close()


class FrameBufferPool:
    """All seats and detector stages of a pipeline. ``forget_graphs`` is called before anything goes."""

    def __init__(
        self,
        context: Context,
        launch: Launcher,
        detector: DeviceEngine,
        spec: DetectorSpec,
        settings: DetectorSettings,
        longest_px: int,
        forget_graphs: Callable[[], None],
    ) -> None:
        self._context, self._launch, self._detector = context, launch, detector
        self._spec, self._settings, self._longest_px = spec, settings, longest_px
        self._forget_graphs = forget_graphs
        self._seats: OrderedDict[Size, list[FrameBuffer]] = OrderedDict()
        self._stages: OrderedDict[tuple[int, int, int], DetectorStage] = OrderedDict()

    def fit(self, size: Size) -> Letterbox:
        """How an image of this size will lie in the detector's canvas."""
        return letterbox(*size, self._longest_px, self._spec.multiple, self._spec.upscale)

    def at(self, sizes: Sequence[Size]) -> list[FrameBuffer]:
        """A seat of its own for each image. Raises ``BackendError`` where the GPU's memory is too small."""
        taken: Counter[Size] = Counter()
        seats = []
        for size in sizes:
            if taken[size] == len(self._seats.get(size, ())):
                self._add(size, sizes)
            self._seats.move_to_end(size)
            seats.append(self._seats[size][taken[size]])
            taken[size] += 1
        return seats

    def detector(self, fit: Letterbox, count: int) -> DetectorStage:
        """The detector on ``count`` canvases like that of ``fit``."""
        key = (fit.canvas_width, fit.canvas_height, count)
        if key not in self._stages:
            while len(self._stages) >= _DETECTORS:
                self._forget_graphs()
                self._stages.popitem(last=False)[1].close()
            anchors = anchor_count(fit, self._settings.strides)
            with self._context.all_or_nothing():
                self._stages[key] = DetectorStage(self._context, self._launch, self._detector, fit, anchors, count)
        self._stages.move_to_end(key)
        return self._stages[key]

    def close(self) -> None:
        """Free everything; a later call makes it again."""
        self._forget_graphs()
        while self._stages:
            self._stages.popitem()[1].close()
        self._evict((), 0)

    def _add(self, size: Size, wanted: Sequence[Size]) -> None:
        """One more seat of a size; where memory is short, sizes that are not ``wanted`` now have to go first."""
        if size not in self._seats:
            self._evict(wanted, _SIZES - 1)
        try:
            seat = self._made(size)
        except BackendError:
            if not self._evict(wanted, 0):
                raise
            seat = self._made(size)
        self._seats.setdefault(size, []).append(seat)

    def _made(self, size: Size) -> FrameBuffer:
        slots = 1 if self._seats.get(size) else _SLOTS
        with self._context.all_or_nothing():
            stages = PictureStages(self._context, self._launch, self._settings, self.fit(size), size)
            return FrameBuffer(self._context, stages, slots)

    def _evict(self, wanted: Sequence[Size], most: int) -> bool:
        """Free the sizes used longest ago until ``most`` are left, or only ``wanted`` ones; whether any went."""
        going = [size for size in self._seats if size not in wanted][: max(len(self._seats) - most, 0)]
        if going:
            self._forget_graphs()
        for size in going:
            for seat in self._seats.pop(size):
                seat.close()
        return bool(going)
