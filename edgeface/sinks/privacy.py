"""What leaves the process, and what does not: heads that are switched off, blurred faces, counts instead of people.

``open_guarded`` puts these between the pipeline and a sink, so that no sink has to know of them.
"""

from __future__ import annotations

import datetime
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgeface.errors import ConfigError
from edgeface.inference.result import Face, FrameResult
from edgeface.sinks.base import Message, MessageSink, Sink, SinkCounters
from edgeface.sinks.counts import Counter, CountOptions
from edgeface.sinks.open import open_sink
from edgeface.sinks.queue import Outbox, Policy
from edgeface.types import HEADS, Frame, Image

LIVE_HEADS = ("age", "gender")
"""What live sinks tell unless asked: race is among the data that privacy laws protect most (docs/privacy.md)."""
_CELLS = 6
"""A blurred face keeps so many cells along its longer side, too few to tell who it is."""
_MARGIN = 0.3
"""Boxes are enlarged by this share of their size on every side before they are blurred: hair and chin are outside."""
_GRACE_S = 2.0
"""A live sink has so long for the last counts."""
_HELD_FRAMES = 10
"""A face stays blurred where it was for so many frames after the detector last saw it."""


@dataclass(frozen=True)
class PrivacyOptions:
    """``heads`` that are told (``None``: all, in live sinks not race); ``blur`` faces in images; ``counts`` alone."""

    heads: tuple[str, ...] | None = None
    blur: bool = False
    counts: CountOptions | None = None

    def __post_init__(self) -> None:
        unknown = [head for head in self.heads or () if head not in HEADS]
        if unknown:
            raise ConfigError(f"no head `{unknown[0]}`, expected some of {', '.join(HEADS)}")


def open_guarded(uri: str, options: PrivacyOptions) -> Sink:
    """The sink of ``uri`` (``open_sink``) behind what ``options`` ask for.

    Raises ``ConfigError`` for a sink of images or rows where only counts may leave, else what ``open_sink`` raises.
    """
    sink = open_sink(uri)
    try:
        return guarded(sink, options)
    except ConfigError:
        with sink:
            raise


def guarded(sink: Sink, options: PrivacyOptions) -> Sink:
    """``sink`` behind what ``options`` ask for; itself where that is nothing."""
    heads = options.heads or (LIVE_HEADS if sink.live else HEADS)
    blur = options.blur and sink.shows_images
    if options.counts is not None:
        return CountingSink(sink, options.counts, options.heads or LIVE_HEADS)
    if set(heads) == set(HEADS) and not blur:
        return sink
    return FilteredSink(sink, heads, blur)


class FilteredSink(Sink):
    """Passes results on without the heads that are off, and with blurred faces where asked for."""

    def __init__(self, sink: Sink, heads: Sequence[str] = HEADS, blur: bool = False) -> None:
        self.name, self.inner = sink.name, sink
        self.live, self.shows_images = sink.live, sink.shows_images
        self._heads = tuple(heads)
        self._blur = FaceBlur() if blur else None

    @property
    def counters(self) -> SinkCounters | None:
        """Those of the sink, if it keeps any."""
        return self.inner.counters

    def append(self, result: FrameResult) -> None:
        faces = tuple(without_heads(face, self._heads) for face in result.faces)
        frame = self._blur(result) if self._blur else result.frame
        self.inner.append(FrameResult(frame, faces))

    def abort(self) -> None:
        self.inner.abort()

    def close(self) -> None:
        self.inner.close()

    def __exit__(self, *exc: object) -> None:
        self.inner.__exit__(*exc)


def without_heads(face: Face, heads: Sequence[str]) -> Face:
    """``face`` as if the network had only ``heads``."""
    off = [head for head in HEADS if head not in heads]
    blank: dict[str, Any] = {name: None for head in off for name in _FIELDS[head]}
    return replace(face, **blank, abstained=tuple(head for head in face.abstained if head not in off))


_FIELDS = {
    "age": ("age", "age_std"),
    "gender": ("gender", "gender_confidence"),
    "race": ("race", "race_confidence"),
}


class FaceBlur:
    """Blurs every face that is found, and for a while where it was last found; faces never found stay sharp."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[list[tuple[float, float, float, float]]]] = {}

    def __call__(self, result: FrameResult) -> Frame:
        """A copy of the result's frame; its own pixels stay."""
        still = result.frame.pts_s is None  # nothing follows it, and of a folder every image is a source
        empty: deque[list[tuple[float, float, float, float]]] = deque(maxlen=_HELD_FRAMES)
        recent = empty if still else self._recent.setdefault(result.frame.source, empty)
        recent.append([face.box for face in result.faces])
        pixels = np.array(result.frame.pixels)
        for box in {box for boxes in recent for box in boxes}:
            blur_box(pixels, box)
        return replace(result.frame, pixels=pixels)


def blur_box(pixels: Image, box: tuple[float, float, float, float]) -> None:
    """Replace a face and its surroundings, in place, by a few smooth cells: from means nothing sharp comes back."""
    import cv2

    across, down = _MARGIN * (box[2] - box[0]), _MARGIN * (box[3] - box[1])
    x1, y1 = max(0, math.floor(box[0] - across)), max(0, math.floor(box[1] - down))
    x2, y2 = min(pixels.shape[1], math.ceil(box[2] + across)), min(pixels.shape[0], math.ceil(box[3] + down))
    if x2 <= x1 or y2 <= y1:
        return
    region = np.ascontiguousarray(pixels[y1:y2, x1:x2])
    longer = max(x2 - x1, y2 - y1)
    cells = (max(1, round(_CELLS * (x2 - x1) / longer)), max(1, round(_CELLS * (y2 - y1) / longer)))
    small = cv2.resize(region, cells, interpolation=cv2.INTER_AREA)
    pixels[y1:y2, x1:x2] = cv2.resize(small, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)


@dataclass
class _Interval:
    start_s: float
    start: str | None
    counter: Counter = field(repr=False)


class CountingSink(Sink):
    """Sends how many people were seen per interval and source, in groups of at least k, and nothing else.

    Intervals follow the clock for live frames, the file's own time for files; still images are one interval. The
    last, unfinished one is sent at the end. Messages have a queue of their own, so that counting never waits.
    """

    def __init__(self, sink: Sink, options: CountOptions, heads: Sequence[str] = LIVE_HEADS) -> None:
        if not isinstance(sink, MessageSink):
            kind = "images" if sink.shows_images else "rows about single people"
            raise ConfigError(
                f"`{sink.name}` takes {kind}, of which none may leave with --privacy; name a .jsonl, mqtt:…"
            )
        self.name, self.inner = sink.name, sink
        self.live = sink.live
        self._options, self._heads = options, tuple(heads)
        self._intervals: dict[str, _Interval] = {}
        policy: Policy = "drop_oldest" if self.live else "block"
        self._outbox: Outbox[Message] = Outbox(sink.send, 16, policy, f"counts {sink.name}", self._leave)
        self._exit: tuple[object, ...] = (None, None, None)

    @property
    def counters(self) -> SinkCounters:
        own = self.inner.counters or SinkCounters(written=self._outbox.written)
        return replace(own, dropped=own.dropped + self._outbox.dropped, depth=len(self._outbox))

    def append(self, result: FrameResult) -> None:
        """Count the people of one frame."""
        frame = result.frame
        now_s = _time_of(frame)
        interval = self._intervals.get(frame.source)
        if interval is None or not 0 <= now_s - interval.start_s < self._options.interval_s:
            self._finish(frame.source, complete=True)
            interval = self._intervals[frame.source] = self._begin(frame, now_s)
        interval.counter.add(result.faces)

    def _begin(self, frame: Frame, now_s: float) -> _Interval:
        live = frame.captured_s is not None
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds") if live else None
        return _Interval(now_s, now, Counter(self._options, self._heads))

    def _finish(self, source: str, complete: bool) -> None:
        interval = self._intervals.pop(source, None)
        if interval is not None:
            self._outbox.put(interval.counter.message(source, interval.start, complete))

    def abort(self) -> None:
        self._outbox.abort()
        self.inner.abort()

    def close(self) -> None:
        """Send what is counted and close the sink."""
        for source in list(self._intervals):
            self._finish(source, complete=False)
        if not self._outbox.close(_GRACE_S if self.live else None):
            self.abort()
            self._outbox.close(_GRACE_S)

    def _leave(self) -> None:
        self.inner.__exit__(*self._exit)

    def __exit__(self, *exc: object) -> None:
        self._exit = exc
        self.close()


def _time_of(frame: Frame) -> float:
    return frame.captured_s if frame.captured_s is not None else frame.pts_s or 0.0
