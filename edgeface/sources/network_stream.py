"""Network streams through FFmpeg: RTSP, MJPEG and MPEG-TS over HTTP, HLS, RTMP, UDP, SRT."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from edgeface.common.addresses import ENCODE, address_parts, public_name
from edgeface.errors import SourceError
from edgeface.sources.base import SourceOptions
from edgeface.sources.ffmpeg import FrameConverter, reason
from edgeface.sources.frame_queue import Counters
from edgeface.sources.live import CapturedFrame, LiveSource, StallError
from edgeface.sources.nvdec import open_video
from edgeface.sources.timeline import Latency

_TIMELESS_FORMATS = frozenset({"mpjpeg", "mjpeg", "image2pipe"})
"""Formats without times of their own; what FFmpeg makes up from a nominal rate is no time."""
_WAITED_S = 2e-3
"""A packet that took longer to come was in no buffer of this machine."""
_DAMAGED_LIMIT = 200
"""Packets in a row that decode to nothing, after which the connection is taken for broken."""


def stream_source(uri: str, options: SourceOptions) -> LiveSource:
    """A network stream as a live source; its name shows no password. Raises ``ConfigError`` for no address."""
    address_parts(uri)
    source = LiveSource(public_name(uri), lambda counters: Stream(uri, options, counters, source.name), options)
    return source


class Stream:
    """An open network stream: the images of its first video track.

    A stream that lags behind its own clock by more than ``max_lag_s`` (the machine decodes too slowly, or a buffer on
    the way has filled) is caught up with by decoding key frames only. HLS comes in bursts and is paced by its times.
    """

    def __init__(self, uri: str, options: SourceOptions, counters: Counters, name: str | None = None) -> None:
        import av

        self._name, self._options, self._counters = name or public_name(uri), options, counters
        started_s = time.monotonic()
        try:
            limits_s = options.open_s, options.stall_s
            self._container = open_video(
                uri, self._name, options.decoder, options=_options(uri, options), timeout=limits_s
            )
        except (av.FFmpegError, ValueError) as error:
            silent = isinstance(error, av.error.ExitError) or time.monotonic() - started_s > options.open_s
            why = f"no answer within {options.open_s:g} s" if silent else reason(error)
            hint = f"; {ENCODE}" if "@" in address_parts(uri).path else ""  # the host may be another than was meant
            raise SourceError(why + hint) from None  # the cause names the whole address
        if not self._container.streams.video:
            self._container.close()
            raise SourceError("no video in the stream")
        self._stream = self._container.streams.video[0]
        try:
            self._shown = FrameConverter(self._stream)
        except SourceError:
            self._container.close()
            raise
        self._stream.thread_type = "SLICE"  # threads by frame would hold back a frame each
        self.format = self._container.format.name
        self.finite = bool(self._container.duration) and "hls" in self.format
        self._timeless = bool(_TIMELESS_FORMATS & set(self.format.split(",")))
        self._intra_only = bool(self._stream.codec.intra_only)
        self._latency = Latency()
        self._pace = _Pace() if "hls" in self.format else None
        self._catching_up = False
        self._asked_s = started_s
        self._interrupted = threading.Event()

    def shots(self) -> Iterator[CapturedFrame]:
        """Images as they arrive, damaged ones left out. Raises ``SourceError`` or ``StallError``."""
        import av

        last_s = self._asked_s = time.monotonic()
        damaged = 0
        try:
            for packet in self._container.demux():
                arrived_s = time.monotonic()
                shots: list[CapturedFrame] = []
                if packet.stream is self._stream:
                    if self._too_late(packet, arrived_s):
                        self._counters.skipped += 1
                        last_s = arrived_s
                    else:
                        shots = self._decoded(packet, arrived_s)
                        damaged = 0 if shots else damaged + 1
                last_s = arrived_s if shots else last_s
                if arrived_s - last_s > self._options.stall_s or damaged > _DAMAGED_LIMIT:
                    raise StallError(f"no image in {arrived_s - last_s:.1f} s of data")
                yield from self._paced(shots)
                self._asked_s = time.monotonic()
        except av.error.ExitError:
            raise StallError(f"silent for {self._options.stall_s:g} s") from None
        except av.FFmpegError as error:
            raise SourceError(reason(error)) from None
        except IndexError as error:  # PyAV, of a track that came after the stream was opened
            raise SourceError("the stream's tracks changed") from error

    def interrupt(self) -> None:
        """End a wait of ours; one of FFmpeg's ends by itself after ``stall_s``."""
        self._interrupted.set()

    def close(self) -> None:
        """Close the connection, in the thread that reads it."""
        self._container.close()

    def _decoded(self, packet: Any, arrived_s: float) -> list[CapturedFrame]:
        """The whole images of a packet; a damaged packet is counted and has none."""
        import av

        try:
            frames = packet.decode()
        except av.FFmpegError:
            self._counters.errors += 1
            return []
        shots = []
        for frame in frames:
            if frame.is_corrupt:
                self._counters.errors += 1
                continue
            stated_s = None if self._timeless else frame.time
            captured_s = self._latency.captured_s(stated_s, arrived_s, self._waited(arrived_s))
            shots.append(CapturedFrame(self._shown(frame), stated_s, captured_s))
        return shots

    def _too_late(self, packet: Any, arrived_s: float) -> bool:
        """Whether to leave a packet out: from ``max_lag_s`` behind until less than a quarter of it is left, or until
        packets have to be waited for, since then nothing is left to catch up with.

        What follows is only whole from a key frame on, so that catching up ends at one.
        """
        if self._timeless or self._pace or packet.pts is None or packet.time_base is None:
            return False
        lag_s = self._latency.lag_s(float(packet.pts * packet.time_base), arrived_s)
        if not self._catching_up:
            self._catching_up = lag_s > self._options.max_lag_s and not self._waited(arrived_s)
        elif packet.is_keyframe:
            self._catching_up = lag_s > self._options.max_lag_s / 4 and not self._waited(arrived_s)
        return self._catching_up and (self._intra_only or not packet.is_keyframe)

    def _waited(self, arrived_s: float) -> bool:
        """Whether the packet that arrived now was in no buffer of this machine."""
        return arrived_s - self._asked_s > _WAITED_S

    def _paced(self, shots: list[CapturedFrame]) -> Iterator[CapturedFrame]:
        for shot in shots:
            if self._pace:
                self._interrupted.wait(self._pace.wait_s(shot))
                shot = shot._replace(captured_s=time.monotonic())
            yield shot


class _Pace:
    """Spreads the images of a segment over the time it lasts."""

    def __init__(self) -> None:
        self._origin_s: float | None = None

    def wait_s(self, shot: CapturedFrame) -> float:
        """Seconds to wait before ``shot`` is due by the first one's time; one that is late becomes the first one."""
        now_s = time.monotonic()
        if shot.stated_s is None:
            return 0.0
        if self._origin_s is None or self._origin_s + shot.stated_s < now_s:
            self._origin_s = now_s - shot.stated_s
        return min(self._origin_s + shot.stated_s - now_s, 1.0)


def _options(uri: str, options: SourceOptions) -> dict[str, str]:
    """FFmpeg's settings for little delay: short probes whose packets are not kept, no reordering by the network.

    Segments of HLS are played whole, those of the probe as well.
    """
    parts = address_parts(uri)
    settings = {"flags": "low_delay", "probesize": "500000", "analyzeduration": "500000"}
    if not parts.path.lower().endswith(".m3u8"):
        settings |= {"fflags": "nobuffer"}
    if parts.scheme.lower() in ("rtsp", "rtsps"):
        settings |= {"rtsp_transport": options.rtsp_transport, "max_delay": "200000"}
    if parts.scheme.lower() == "udp":
        settings |= {"fifo_size": "200000", "overrun_nonfatal": "1"}
    return settings
