"""A frame's whole way on the GPU: up once, one launch, its faces down once, one wait.

Upload → canvas → detector → decoding and suppression → crops → attributes → download. Everything after the upload is
captured as a CUDA graph for each image size, place in memory and number of faces (in buckets); the last frames
predict the bucket, and faces beyond it are answered in further rounds. Frames of several streams are answered together:
one run of each network, one launch, one download and one wait for all of them. The ledger counts what it really cost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from edgeface.cuda.context import Context, DeviceBuffer, Kernels, PinnedBuffer
from edgeface.cuda.stream import Event, Stream
from edgeface.cuda.structs import ARGUMENTS
from edgeface.cuda.transfers import TransferStats
from edgeface.errors import BackendError, ConfigError
from edgeface.gpu.device_frame import DeviceFrame
from edgeface.gpu.frame_buffers import FrameBuffer, FrameBufferPool
from edgeface.gpu.frame_job import FrameJob, Picture, size_of
from edgeface.gpu.graph_cache import GraphCache
from edgeface.gpu.result_layout import TOGETHER, ResultLayout, bucket_for, buckets_of
from edgeface.gpu.stages import CropStages, DetectorSettings, DetectorStage, Launcher, Look
from edgeface.imaging.preprocess import template_px
from edgeface.inference.detector import check_image
from edgeface.runtime.device_engine import DeviceEngine
from edgeface.spec.model import DetectorSpec, ModelSpec
from edgeface.types import Attributes, Faces

_MEMORY_OF_COUNTS = 15
"""Frames whose largest number of faces predicts the next one's bucket."""

STAGES = ("upload", "canvas", "detector", "faces", "halves", "crops", "attributes", "download")

Answer = tuple[Faces, Attributes]
Mark = Callable[[str], None]
"""Called with each of ``STAGES`` but the first once it is queued."""


class GpuPipeline:
    """Detector and attribute network on one GPU, for the thread that owns ``context``.

    ``kernels`` is the compiled module (``cuda.compile.compiled``). ``score_threshold`` and ``longest_px`` default to
    the detector's spec. With ``graphs`` off, or networks that cannot be captured, every stage is launched by itself.
    ``stream`` is the one to queue on (``None``: a new one). Raises ``ConfigError`` for a detector that is not
    edgeface's own, ``BackendError`` for what the GPU refuses.
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
        stream: Stream | None = None,
    ) -> None:
        if detector_spec is None or {info.name for info in detector.outputs} != {"score", "box", "landmarks"}:
            raise ConfigError("the GPU pipeline runs edgeface's own face detector only: leave --detector out")
        _check_types(detector, attributes)
        self.spec = spec
        self._context = context
        threshold = detector_spec.score_threshold if score_threshold is None else score_threshold
        settings = DetectorSettings(detector_spec.strides, threshold, detector_spec.nms_iou)
        self.stream = stream or Stream(context)
        launch = Launcher(Kernels(context, kernels, tuple(ARGUMENTS)), self.stream)
        self._layout = ResultLayout.of(attributes.outputs, spec)
        self._block = DeviceBuffer(context, self._layout.size)
        self._result = PinnedBuffer(context, self._layout.size)
        target = template_px(spec.alignment, spec.input_size).ravel()
        self._buckets = buckets_of(attributes.batches)
        self.together = min(TOGETHER, detector.batches[1], self._buckets[-1])
        self._crops = CropStages(
            context, launch, attributes, spec.input_size, target, self._block.address, self._layout, self._buckets
        )
        self._graphs = GraphCache(self.stream, graphs and detector.capturable and attributes.capturable)
        longest = longest_px or detector_spec.longest_px
        self._seats = FrameBufferPool(context, launch, detector, detector_spec, settings, longest, self._graphs.forget)
        self._counts: deque[int] = deque([1], maxlen=_MEMORY_OF_COUNTS)
        self._begin, self._end = Event(context), Event(context)
        self.clocked, self.gpu_ms = False, 0.0

    together: int
    """How many frames are answered together at most."""
    clocked: bool
    """Whether to measure ``gpu_ms``, which costs some microseconds a frame."""
    gpu_ms: float
    """Milliseconds that the GPU has worked on frames so far, copies included, by CUDA events."""

    @property
    def context(self) -> Context:
        return self._context

    @property
    def captures(self) -> bool:
        """Whether work that comes again is launched as a graph."""
        return self._graphs.enabled

    @property
    def ledger(self) -> TransferStats:
        """What every frame cost."""
        return self._context.ledger

    def slot(self, width: int, height: int) -> NDArray[np.uint8]:
        """Where a decoder may write the next frame: uint8 ``[height, width, 3]``.

        Valid until the slot comes round, or images of several other sizes have come.
        """
        return self._seats.at([(width, height)])[0].ring.next_slot()

    def __call__(self, frame: Picture) -> Answer:
        """Faces of a frame, best score first, in its pixels, and their attributes.

        ``frame`` is uint8 ``[H, W, 3]`` RGB (without a copy on the host where it is a ``slot``), or an image on this
        GPU, which is read where it lies. Raises ``ImageError`` for another array.
        """
        return self.answer([frame])[0]

    def answer(self, frames: Sequence[Picture]) -> list[Answer]:
        """The answers of several frames, in order, up to ``together`` of them at a time.

        Frames go together whose canvases are of one size, as those of all cameras of one aspect ratio are.
        """
        for frame in frames:
            if not isinstance(frame, DeviceFrame):
                check_image(frame)
        answers: dict[int, Answer] = {}
        for numbers in self._groups(frames):
            group = [frames[number] for number in numbers]
            seats = self._seated(group)
            with self.ledger.frame(len(numbers)):
                answers |= zip(numbers, self._answer_group(group, seats))
        return [answers[number] for number in range(len(frames))]

    def _groups(self, frames: Sequence[Picture]) -> list[list[int]]:
        """Numbers of frames that go together."""
        if len(frames) == 1:
            return [[0]]
        canvases: dict[tuple[int, int], list[int]] = {}
        for number, frame in enumerate(frames):
            fit = self._seats.fit(size_of(frame))
            canvases.setdefault((fit.canvas_width, fit.canvas_height), []).append(number)
        step = self.together
        return [alike[k : k + step] for alike in canvases.values() for k in range(0, len(alike), step)]

    def _answer_group(self, frames: Sequence[Picture], seats: Sequence[FrameBuffer]) -> list[Answer]:
        try:
            return self._answers(self._job(frames, seats, max(self._counts)))
        except BaseException:
            with suppress(BackendError):  # what is under way must end before anybody frees or fills its memory
                self.stream.synchronize()
            raise

    def job(self, frames: Sequence[Picture], faces: int) -> FrameJob:
        """``frames`` on their way to the GPU, with room for ``faces`` faces each, as far as a bucket has it."""
        return self._job(frames, self._seated(frames), faces)

    def _seated(self, frames: Sequence[Picture]) -> list[FrameBuffer]:
        """Where the frames will be; whatever has to be made for them is made now."""
        seats = self._seats.at([size_of(frame) for frame in frames])
        self._seats.detector(seats[0].fit, len(seats))
        return seats

    def _job(self, frames: Sequence[Picture], seats: Sequence[FrameBuffer], faces: int) -> FrameJob:
        bucket = bucket_for(faces, self._buckets)
        while bucket * len(frames) > self._buckets[-1] and bucket > 1:
            bucket //= 2
        self._start_clock()
        pictures = tuple(self._bring_up(seat, frame) for seat, frame in zip(seats, frames))
        detector = self._seats.detector(seats[0].fit, len(seats))
        return FrameJob(pictures, tuple(seats), tuple(range(len(frames))), detector, 0, bucket)

    def _bring_up(self, seat: FrameBuffer, frame: Picture) -> DeviceFrame:
        """The frame in RGB where the GPU reads it: copied up once, or where host and GPU share it, not at all."""
        if isinstance(frame, DeviceFrame):
            if frame.stream is not None:
                self.stream.wait_for(frame.stream)
            return frame if frame.layout == "rgb" else seat.stages.to_rgb(frame)
        slot = seat.ring.filled(frame)
        height, width = frame.shape[:2]
        if slot.address:
            return DeviceFrame(slot.address, width, height, 3 * width)
        with self.ledger.stage("upload"):
            self.stream.upload(seat.stages.picture, slot, frame.nbytes)
        return DeviceFrame(seat.stages.picture, width, height, 3 * width)

    def _answers(self, job: FrameJob) -> list[Answer]:
        layout, block = self._layout, self._result.array
        self._run(job)
        counts = [layout.count(block, number) for number in job.numbers]
        self._counts.append(max(counts))
        found = [
            [layout.read_attributes(block, min(count, job.bucket), place * job.bucket)]
            for place, count in enumerate(counts)
        ]
        for number, count in enumerate(counts):
            found[number] += self._further(job, number, count)
        return [
            (layout.read_faces(block, number, count), _joined(found[number])) for number, count in enumerate(counts)
        ]

    def _further(self, job: FrameJob, number: int, count: int) -> list[Attributes]:
        """The attributes of an image's faces beyond the bucket, in rounds."""
        found = []
        done = job.bucket
        while done < count:
            bucket = bucket_for(count - done, self._buckets)
            self._start_clock()
            self._run(FrameJob((job.pictures[number],), (job.seats[number],), (number,), None, done, bucket))
            found.append(self._layout.read_attributes(self._result.array, min(count - done, bucket)))
            done += bucket
        return found

    def _run(self, job: FrameJob) -> None:
        """Run a job and wait."""
        self._graphs.run(job.key, lambda: self.queue(job))
        if self.clocked:
            self.stream.record(self._end)
        with self.ledger.stage("wait"):
            self.stream.synchronize()
        if self.clocked:
            self.gpu_ms += self._end.ms_since(self._begin)

    def _start_clock(self) -> None:
        if self.clocked:
            self.stream.record(self._begin)

    def queue(self, job: FrameJob, mark: Mark = lambda stage: None) -> None:
        """Queue a job."""
        looks = [Look(p, seat.stages.halves, n) for p, seat, n in zip(job.pictures, job.seats, job.numbers)]
        if job.detector is not None:
            self._find(job, job.detector, mark)
        self._crops.crop(looks, job.first, job.bucket)
        mark("crops")
        self.estimate(job)
        mark("attributes")
        with self.ledger.stage("download"):
            self.stream.download(self._result, self._block.address, self.answer_bytes(job))
        mark("download")

    def answer_bytes(self, job: FrameJob) -> int:
        """Bytes of a job's answers."""
        return self._layout.length(job.numbers[-1], job.first + job.bucket)

    def estimate(self, job: FrameJob) -> None:
        """Queue the attribute network alone, on the crops that are there."""
        self._crops.enqueue(len(job.pictures) * job.bucket)

    def _find(self, job: FrameJob, detector: DetectorStage, mark: Mark) -> None:
        block, layout = self._block.address, self._layout
        for number, (picture, seat) in enumerate(zip(job.pictures, job.seats)):
            seat.stages.fit_canvas(picture, detector.canvas(number))
        mark("canvas")
        detector.enqueue()
        mark("detector")
        for number, seat in enumerate(job.seats):
            places = block + layout.count_at(number), block + layout.faces_at(number)
            seat.stages.find(detector.maps(number), *places)
        mark("faces")
        for picture, seat in zip(job.pictures, job.seats):
            seat.stages.halve(picture)
        mark("halves")

    def close(self) -> None:
        """Let go of the networks' bindings, which must go before their engines, and of all sizes' memory."""
        self._seats.close()
        self._crops.close()


def _check_types(detector: DeviceEngine, attributes: DeviceEngine) -> None:
    """The kernels write bytes and read float32: other tensors would be nonsense, and no driver would notice."""
    feeds = (*detector.inputs, *attributes.inputs)
    for infos, wanted in ((feeds, np.dtype(np.uint8)), (detector.outputs, np.dtype(np.float32))):
        for info in infos:
            if info.dtype != wanted:
                raise ConfigError(f"tensor `{info.name}`: the GPU pipeline expects {wanted}, found {info.dtype}")


def _joined(parts: list[Attributes]) -> Attributes:
    """The rows of all rounds as one."""
    if len(parts) == 1:
        return parts[0]
    heads = zip(*((part.age, part.age_std, part.gender, part.race) for part in parts))
    return Attributes(*map(np.concatenate, heads))
