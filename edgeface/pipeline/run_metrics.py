"""The numbers of a run: frames, ages, drops, reconnects, queues, inference times; and the page that serves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from edgeface import __version__
from edgeface.common.addresses import told_apart
from edgeface.common.web_server import Request, WebServer, host_and_port
from edgeface.pipeline.prometheus import CONTENT_TYPE, Kind, Metrics, Sample, metric, one
from edgeface.pipeline.run_stats import RunStats, Window
from edgeface.sinks.base import Sink, SinkCounters
from edgeface.sources.base import Source

if TYPE_CHECKING:
    from prometheus_client.core import Metric

STATES = ("connecting", "live", "stalled", "reconnecting", "ended", "failed")
PORT = 9090
_QUANTILES = (0.5, 0.95, 0.99)
_TELLING = ("attributes", "track", "fuse")
"""Stages whose time says whether someone is there."""


def run_metrics(stats: RunStats, sinks: Sequence[Sink] = (), counts_only: bool = False) -> Metrics:
    """Metrics of a run and its process.

    ``counts_only`` leaves out all that shows, scrape by scrape, whether a person is in view.
    """
    return Metrics(
        lambda: [_build()],
        lambda: of_run(stats, counts_only),
        lambda: of_sources(stats.sources),
        lambda: of_sinks(sinks),
    )


def _build() -> Metric:
    version = Sample(1, {"version": __version__})
    return metric("edgeface_build_info", "gauge", "Version of edgeface in the label, always 1.", [version])


def of_run(stats: RunStats, counts_only: bool = False) -> Iterator[Metric]:
    """What the worker has done so far."""
    yield one("edgeface_frames_total", "counter", "Number of frames processed.", stats.frames)
    yield one("edgeface_queue_depth", "gauge", "Number of frames waiting to be processed.", stats.queue_depth())
    if not counts_only:
        yield one("edgeface_faces_total", "counter", "Number of faces in the frames processed.", stats.faces)
        yield one("edgeface_inferences_total", "counter", "Number of faces run through the network.", stats.inferences)
    ages = _summary({}, stats.ages_s)
    yield metric("edgeface_frame_age_seconds", "summary", "Latency from capture to result of live frames.", ages)
    stages = [(name, window) for name, window in stats.stages_s.items() if not (counts_only and name in _TELLING)]
    laps = [sample for name, window in stages for sample in _summary({"stage": name}, window)]
    yield metric("edgeface_stage_seconds", "summary", "Time spent on a frame, by pipeline stage.", laps)


def _summary(labels: dict[str, str], window: Window) -> tuple[Sample, ...]:
    """Quantiles of the latest values, sum and count of all."""
    quantiles = [Sample(window.percentile(100 * q), {**labels, "quantile": str(q)}) for q in _QUANTILES]
    return (*quantiles, Sample(window.sum_s, labels, "_sum"), Sample(window.count, labels, "_count"))


_SOURCE: tuple[tuple[str, str], ...] = (
    ("frames", "Number of frames decoded."),
    ("dropped", "Number of frames dropped in favour of newer ones."),
    ("skipped", "Number of packets not decoded because the stream was late."),
    ("reconnects", "Number of reconnects that brought frames again."),
    ("stalls", "Number of source stalls that triggered a reconnect."),
    ("errors", "Number of failed connections and damaged frames."),
)
_SINK: tuple[tuple[str, Kind, str], ...] = (
    ("written", "counter", "Number of results or messages delivered."),
    ("dropped", "counter", "Number of results or messages lost because the sink was slow or unreachable."),
    ("reconnects", "counter", "Number of times the sink reconnected to its peer."),
    ("errors", "counter", "Number of failed delivery attempts."),
    ("depth", "gauge", "Number of results waiting for the sink."),
)


def of_sources(sources: Sequence[Source]) -> Iterator[Metric]:
    """Counters and state of each source."""
    named = told_apart(source.name for source in sources)
    for key, help in _SOURCE:
        samples = [Sample(getattr(s.counters, key), {"source": name}) for name, s in zip(named, sources)]
        yield metric(f"edgeface_source_{key}_total", "counter", help, samples)
    states = [
        Sample(source.state == state, {"source": name, "state": state})
        for name, source in zip(named, sources)
        for state in STATES
    ]
    yield metric("edgeface_source_state", "gauge", "1 for the current state of a source, 0 for the others.", states)


def of_sinks(sinks: Sequence[Sink]) -> Iterator[Metric]:
    """Counters and queue of each sink."""
    counters = [sink.counters or SinkCounters() for sink in sinks]
    named = told_apart(sink.name for sink in sinks)
    for key, kind, help in _SINK:
        samples = [Sample(getattr(counter, key), {"sink": name}) for name, counter in zip(named, counters)]
        yield metric(f"edgeface_sink_{key}{'_total' if kind == 'counter' else ''}", kind, help, samples)


class MetricsServer:
    """``/metrics`` and ``/healthz`` at ``HOST:PORT`` or ``:PORT`` (this machine only). Raises ``SinkError``.

    ``healthy`` says whether the process does its work: by default, that it answers.
    """

    def __init__(self, address: str, metrics: Metrics, healthy: Callable[[], bool] = lambda: True) -> None:
        host, port = host_and_port(address, PORT)
        self._metrics, self._healthy = metrics, healthy
        self._server = WebServer(host, port, {"/metrics": self._text, "/healthz": self._health})
        self.url = self._server.url

    def _text(self, request: Request) -> None:
        request.answer(200, CONTENT_TYPE, self._metrics.text().encode())

    def _health(self, request: Request) -> None:
        well = self._healthy()
        request.answer(200 if well else 503, "text/plain", b"ok\n" if well else b"no source gives frames\n")

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def alive(sources: Sequence[Source]) -> bool:
    """Whether some source is not over; without any the run has not begun."""
    return not sources or any(source.state not in ("ended", "failed") for source in sources)
