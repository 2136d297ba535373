"""The numbers of a run: frames, ages, drops, reconnects, queues, inference times; and the page that serves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edgeface import __version__
from edgeface.common.web_server import Request, WebServer, host_and_port
from edgeface.pipeline.prometheus import CONTENT_TYPE, Family, Kind, Metrics, Sample, one, process_families
from edgeface.pipeline.run_stats import RunStats, Window
from edgeface.sinks.base import Sink, SinkCounters
from edgeface.sinks.sink_uri import redacted
from edgeface.sources.base import Source

STATES = ("connecting", "live", "stalled", "reconnecting", "ended", "failed")
PORT = 9090
_QUANTILES = (0.5, 0.95, 0.99)
_TELLING = ("attributes", "track", "fuse")
"""Stages whose time says whether someone is there."""


def run_metrics(stats: RunStats, sinks: Sequence[Sink] = (), counts_only: bool = False) -> Metrics:
    """Metrics of a run and its process.

    ``counts_only`` leaves out all that tells, scrape by scrape, whether a person is in view.
    """

    return Metrics(
        lambda: [_build()], lambda: run_families(stats, counts_only), lambda: sink_families(sinks), process_families
    )


def _build() -> Family:
    return Family("edgeface_build_info", "gauge", "The version that runs.", (Sample(1, {"version": __version__}),))


def run_families(stats: RunStats, counts_only: bool = False) -> Iterator[Family]:
    """What the worker and the sources have done so far."""
    yield one("edgeface_frames_total", "counter", "Frames answered.", stats.frames)
    yield one("edgeface_queue_depth", "gauge", "Frames that wait for the worker.", stats.queue_depth())
    if not counts_only:
        yield one("edgeface_faces_total", "counter", "Faces in the frames answered.", stats.faces)
        yield one("edgeface_inferences_total", "counter", "Faces the attribute network saw.", stats.inferences)
    ages = _summary({}, stats.ages_s)
    yield Family("edgeface_frame_age_seconds", "summary", "From a live frame's capture to its result.", ages)
    stages = [(name, window) for name, window in stats.stages_s.items() if not (counts_only and name in _TELLING)]
    laps = tuple(sample for name, window in stages for sample in _summary({"stage": name}, window))
    yield Family("edgeface_stage_seconds", "summary", "Time a frame spent in a stage.", laps)
    yield from source_families(stats.sources)


def _summary(labels: dict[str, str], window: Window) -> tuple[Sample, ...]:
    """Quantiles of the latest values, sum and count of all."""
    quantiles = [Sample(window.percentile(100 * q), {**labels, "quantile": str(q)}) for q in _QUANTILES]
    return (*quantiles, Sample(window.sum_s, labels, "_sum"), Sample(window.count, labels, "_count"))


_SOURCE: tuple[tuple[str, str], ...] = (
    ("frames", "Frames decoded."),
    ("dropped", "Frames thrown away for newer ones."),
    ("skipped", "Packets not decoded since the stream was late."),
    ("reconnects", "Connections after which frames came again."),
    ("stalls", "Silences that were too long."),
    ("errors", "Failed connections and damaged frames."),
)
_SINK: tuple[tuple[str, Kind, str], ...] = (
    ("written", "counter", "Results or messages delivered."),
    ("dropped", "counter", "Results or messages lost because the sink was slow or away."),
    ("reconnects", "counter", "Returns of the sink's peer."),
    ("errors", "counter", "Attempts at delivery that failed."),
    ("depth", "gauge", "Results that wait for the sink."),
)


def source_families(sources: Sequence[Source]) -> Iterator[Family]:
    """Counters and state of each source."""
    named = _named([redacted(source.name) for source in sources])
    for key, help in _SOURCE:
        samples = tuple(Sample(getattr(s.counters, key), {"source": name}) for name, s in zip(named, sources))
        yield Family(f"edgeface_source_{key}_total", "counter", help, samples)
    states = tuple(
        Sample(source.state == state, {"source": name, "state": state})
        for name, source in zip(named, sources)
        for state in STATES
    )
    yield Family("edgeface_source_state", "gauge", "1 for the state that a source is in.", states)


def sink_families(sinks: Sequence[Sink]) -> Iterator[Family]:
    """Counters and queue of each sink."""
    counters: list[SinkCounters] = [getattr(sink, "counters", None) or SinkCounters() for sink in sinks]
    named = _named([sink.name for sink in sinks])
    for key, kind, help in _SINK:
        samples = tuple(Sample(getattr(counter, key), {"sink": name}) for name, counter in zip(named, counters))
        yield Family(f"edgeface_sink_{key}{'_total' if kind == 'counter' else ''}", kind, help, samples)


def _named(names: list[str]) -> list[str]:
    """The names, told apart where two are the same: samples of a family differ in their labels."""
    return [name if names.count(name) == 1 else f"{name}#{number + 1}" for number, name in enumerate(names)]


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
