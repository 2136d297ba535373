"""A frame's whole way on the GPU: up once, one launch, its faces down once, one wait.

Upload → canvas → detector → decoding and suppression → crops → attributes → download. Everything after the upload is
captured as a CUDA graph for each picture size, place in memory and number of faces (in buckets); the last frames
predict the bucket, and faces beyond it are answered in further rounds. The ledger counts what a frame really cost.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.cuda import ARGUMENTS
from edgeface.errors import ConfigError
from edgeface.geometry import letterbox
from edgeface.pipeline.detect import check_image
from edgeface.pipeline.gpu_frames import DeviceFrame
from edgeface.pipeline.gpu_layout import BUCKETS, ResultLayout, bucket_for
from edgeface.pipeline.gpu_ring import FrameRing
from edgeface.pipeline.gpu_stages import CropStages, DetectorSettings, Launcher, PictureStages
from edgeface.preprocess import template_px
from edgeface.runtime.cuda_context import Context, DeviceBuffer, Event, Graph, Kernels, PinnedBuffer, Stream
from edgeface.runtime.device_engine import DeviceEngine
from edgeface.runtime.ledger import CopyLedger
from edgeface.spec import DetectorSpec, ModelSpec
from edgeface.types import Attributes, Faces, Image

_GRAPHS = 64
_MEMORY_OF_COUNTS = 15
"""Frames whose largest number of faces predicts the next one's bucket."""

Answer = tuple[Faces, Attributes]
Key = tuple[Any, ...]


class GpuPipeline:
    """Detector and attribute network on one GPU, for the thread that owns ``context``.

    ``kernels`` is the compiled module (``runtime.kernels.compiled``). ``score_threshold`` and ``longest_px`` default to
    the detector's spec. With ``graphs`` off every stage is launched by itself. Raises ``ConfigError`` for a detector
    that is not edgeface's own, ``BackendError`` for what the GPU refuses.
    """

    def __init__(
        self,
        context: Context,
        kernels: bytes,
        detector: DeviceEngine,
        detector_spec: DetectorSpec | None,
        attributes: DeviceEngine,
        spec: ModelSpec,
        score_threshold: float | None = None,
        longest_px: int | None = None,
        graphs: bool = True,
    ) -> None:
        if detector_spec is None or {info.name for info in detector.outputs} != {"score", "box", "landmarks"}:
            raise ConfigError("the GPU pipeline runs edgeface's own face detector only: leave --detector out")
        self.spec, self._detector, self._detector_spec = spec, detector, detector_spec
        self._context, self._graphs_on = context, graphs
        self._longest_px = longest_px or detector_spec.longest_px
        threshold = detector_spec.score_threshold if score_threshold is None else score_threshold
        self._settings = DetectorSettings(detector_spec.strides, threshold, detector_spec.nms_iou)
        self._stream = Stream(context)
        self._launch = Launcher(Kernels(context, kernels, tuple(ARGUMENTS)), self._stream)
        self._layout = ResultLayout.of(attributes.outputs, spec)
        self._block = DeviceBuffer(context, self._layout.size)
        self._result = PinnedBuffer(context, self._layout.size)
        faces = self._block.address + self._layout.faces
        target = template_px(spec.alignment, spec.input_size).ravel()
        outputs = self._layout.addresses(self._block.address)
        self._crops = CropStages(
            context, self._launch, attributes, spec.input_size, target, self._block.address, faces, outputs, BUCKETS[-1]
        )
        self._ring: FrameRing | None = None
        self._stages: PictureStages | None = None
        self._graphs: OrderedDict[Key, Graph | None] = OrderedDict()
        self._counts: deque[int] = deque([1], maxlen=_MEMORY_OF_COUNTS)

    @property
    def ledger(self) -> CopyLedger:
        """What every frame cost."""
        return self._context.ledger

    def slot(self, width: int, height: int) -> NDArray[np.uint8]:
        """Where a decoder may write the next frame: uint8 ``[height, width, 3]``, valid until the slot comes round."""
        self._prepare(width, height)
        assert self._ring is not None
        return self._ring.next_slot()

    def __call__(self, frame: Image | DeviceFrame) -> Answer:
        """Faces of a frame, best score first, in its pixels, and their attributes.

        ``frame`` is uint8 ``[H, W, 3]`` RGB (without a copy on the host where it is a ``slot``), or a picture on this
        GPU, which is read where it lies. Raises ``ImageError`` for another array.
        """
        if not isinstance(frame, DeviceFrame):
            check_image(frame)
        width, height = (frame.width, frame.height) if isinstance(frame, DeviceFrame) else frame.shape[1::-1]
        self._prepare(width, height)
        with self.ledger.frame():
            picture = frame if isinstance(frame, DeviceFrame) else self._bring_up(frame)
            return self._answer(picture)

    def _prepare(self, width: int, height: int) -> None:
        """Have ring and stages for this size."""
        if self._stages is not None and (self._stages.width, self._stages.height) == (width, height):
            return
        self._forget_size()
        spec = self._detector_spec
        fit = letterbox(width, height, self._longest_px, spec.multiple, spec.upscale)
        block, faces = self._block.address, self._block.address + self._layout.faces
        with self._context.all_or_nothing():
            ring = FrameRing(self._context, width, height)
            stages = PictureStages(
                self._context, self._launch, self._detector, self._settings, fit, (width, height), block, faces
            )
        self._ring, self._stages = ring, stages

    def _forget_size(self) -> None:
        for graph in self._graphs.values():
            if graph is not None:
                graph.free()
        self._graphs.clear()
        if self._stages is not None:
            self._stages.close()
        if self._ring is not None:
            self._ring.close()
        self._stages = self._ring = None

    def _bring_up(self, image: Image) -> DeviceFrame:
        """The frame in memory that the GPU reads: copied up once, or where host and GPU share it, not at all."""
        assert self._ring is not None and self._stages is not None
        slot = self._ring.filled(image)
        height, width = image.shape[:2]
        if slot.address:
            return DeviceFrame(slot.address, width, height, 3 * width)
        with self.ledger.stage("upload"):
            self._stream.upload(self._stages.picture, slot, image.nbytes)
        return DeviceFrame(self._stages.picture, width, height, 3 * width)

    def _answer(self, picture: DeviceFrame) -> Answer:
        bucket = bucket_for(max(self._counts))
        self._run(picture, 0, bucket)
        count = self._layout.count(self._result.array)
        self._counts.append(count)
        attributes = [self._layout.read_attributes(self._result.array, min(count, bucket))]
        done = bucket
        while done < count:
            further = bucket_for(count - done)
            self._run(picture, done, further)
            attributes.append(self._layout.read_attributes(self._result.array, min(count - done, further)))
            done += further
        heads = zip(*((part.age, part.age_std, part.gender, part.race) for part in attributes))
        return self._layout.read_faces(self._result.array, 0, count), Attributes(*map(np.concatenate, heads))

    def _run(self, picture: DeviceFrame, first: int, bucket: int) -> None:
        """Run a round and wait: at its second time as a captured graph, the first time step by step."""
        place = (picture.address, picture.stride, picture.layout, picture.bt709, picture.full_range)
        key = (first, bucket, *place)
        graph = self._graphs.get(key)
        if graph is None and self._graphs_on and key in self._graphs:
            with self._stream.capture() as made:
                self._queue(picture, first, bucket)
            graph = made[0]
        if graph is not None:
            self._stream.launch_graph(graph)
        else:
            self._queue(picture, first, bucket)
        self._remember(key, graph)
        with self.ledger.stage("wait"):
            self._stream.synchronize()

    def _remember(self, key: Key, graph: Graph | None) -> None:
        """Keep the latest graphs; a key without one has been seen once."""
        self._graphs[key] = graph
        self._graphs.move_to_end(key)
        if len(self._graphs) > _GRAPHS:
            _, oldest = self._graphs.popitem(last=False)
            if oldest is not None:
                oldest.free()

    def _queue(
        self, picture: DeviceFrame, first: int, bucket: int, mark: Callable[[str], None] = lambda stage: None
    ) -> None:
        """Queue a round; ``mark`` is called after each stage. The first round finds the faces, all answer a bucket."""
        stages = self._stages
        assert stages is not None
        if picture.layout != "rgb":
            picture = stages.to_rgb(picture) if not first else DeviceFrame(stages.picture, *_packed(picture))
            mark("colour")
        if not first:
            stages.detect(picture)
            mark("detect")
            stages.halve(picture)
        self._crops.estimate(picture, stages.halves, first, bucket)
        mark("attributes")
        with self.ledger.stage("download"):
            self._stream.download(self._result, self._block.address, self._layout.length(first + bucket))
        mark("download")

    def close(self) -> None:
        """Let go of the networks' bindings, which must go before their engines, and of this size's memory."""
        self._forget_size()
        self._crops.close()

    def stage_ms(self, picture: DeviceFrame, faces: int) -> dict[str, float]:
        """Milliseconds of each stage by CUDA events, launched step by step for ``faces`` faces."""
        self._prepare(picture.width, picture.height)
        events = [("", Event(self._context))]
        self._stream.record(events[0][1])

        def mark(stage: str) -> None:
            events.append((stage, Event(self._context)))
            self._stream.record(events[-1][1])

        self._queue(picture, 0, bucket_for(faces), mark)
        self._stream.synchronize()
        times = {stage: event.ms_since(before) for (_, before), (stage, event) in zip(events, events[1:])}
        for _, event in events:
            event.free()
        return times


def _packed(frame: DeviceFrame) -> tuple[int, int, int]:
    """Width, height and stride of the frame's RGB copy."""
    return frame.width, frame.height, 3 * frame.width
