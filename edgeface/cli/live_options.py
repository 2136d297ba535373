"""Options of a live run: what leaves the process, metrics, and how it logs."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeface.common.console import PlainFormatter
from edgeface.errors import ConfigError

if TYPE_CHECKING:
    from edgeface.pipeline.run_stats import RunStats
    from edgeface.sinks.base import Sink
    from edgeface.sinks.privacy import PrivacyOptions
    from edgeface.sinks.queue import BoundedSink

Privacy = Annotated[
    bool, typer.Option("--privacy", help="Counts per interval only: no images and nothing about single people.")
]
PrivacyK = Annotated[
    int,
    typer.Option(
        "--privacy-k", min=2, metavar="K", help="With --privacy: do not report groups of fewer than K people."
    ),
]
PrivacyInterval = Annotated[
    float,
    typer.Option(
        "--privacy-interval",
        min=1.0,
        metavar="SECONDS",
        help="With --privacy: length of the interval that a count covers.",
    ),
]
Heads = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Heads to report: age,gender,race (default in live sinks: age,gender)."),
]
Blur = Annotated[bool, typer.Option("--blur", help="Blur the faces in all images and videos.")]
MetricsAt = Annotated[
    str | None,
    typer.Option("--metrics", metavar="HOST:PORT", help="Serve Prometheus metrics; :9090 is for this machine only."),
]
LogFormat = Annotated[str, typer.Option("--log", metavar="FORMAT", help="Events on stderr as text or json.")]

_EXTRAS = ("source", "sink", "state")


def privacy_options(
    privacy: bool, k: int = 5, interval_s: float = 60.0, heads: str | None = None, blur: bool = False
) -> PrivacyOptions:
    """What the options ask for. Raises ``ConfigError`` for an unknown head or none."""
    from edgeface.sinks.counts import CountOptions
    from edgeface.sinks.privacy import PrivacyOptions

    names = None if heads is None else tuple(name.strip() for name in heads.split(",") if name.strip())
    if names == ():
        raise ConfigError("--heads names nothing to tell, expected some of age, gender, race")
    return PrivacyOptions(names, blur, CountOptions(k, interval_s) if privacy else None)


def open_sinks(uris: Iterable[str], options: PrivacyOptions) -> Iterator[BoundedSink]:
    """Each sink in its thread, behind what ``options`` ask for, opened as the iterator goes."""
    from edgeface.sinks.privacy import open_guarded
    from edgeface.sinks.queue import BoundedSink

    for uri in uris:
        sink = open_guarded(uri, options)
        yield BoundedSink(sink, policy="drop_oldest" if sink.live else "block")


@contextmanager
def serving_metrics(
    address: str | None, stats: RunStats, sinks: Iterable[Sink] = (), counts_only: bool = False
) -> Iterator[str | None]:
    """Serve a run's metrics meanwhile and yield their address; nothing without ``address``."""
    if address is None:
        yield None
        return
    from edgeface.pipeline.run_metrics import MetricsServer, alive, run_metrics

    metrics = run_metrics(stats, tuple(sinks), counts_only)
    with MetricsServer(address, metrics, lambda: alive(stats.sources)) as server:
        yield f"{server.url}/metrics"


@contextmanager
def logging_events(form: str) -> Iterator[None]:
    """Write what happens to live sources and sinks to stderr: ``text`` for people, ``json`` for a log collector."""
    if form not in ("text", "json"):
        raise ConfigError(f"--log expects text or json, found `{form}`")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else PlainFormatter("%(message)s"))
    logger = logging.getLogger("edgeface.live")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, message, and of which source or sink in which state."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line: dict[str, Any] = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(line | {key: getattr(record, key) for key in _EXTRAS if hasattr(record, key)})
