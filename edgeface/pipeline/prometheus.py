"""Metrics of a running process for Prometheus, collected when they are asked for.

There is no global state: a collector is a function that reads counters which others keep anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgeface.common.install import missing

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "summary"]


@dataclass(frozen=True)
class Sample:
    """One value of a metric; ``suffix`` is "_sum" or "_count" in a summary."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


Collector = Callable[[], "Iterable[Metric]"]


class Metrics:
    """A registry of its own: the metrics of ``collectors`` and of the process.

    Raises ``MissingDependencyError`` without prometheus-client.
    """

    def __init__(self, *collectors: Collector) -> None:
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector
        except ImportError as error:
            raise missing("prometheus-client", "live", "--metrics") from error
        self._registry = CollectorRegistry()
        for collector in (*collectors, _threads):
            self._registry.register(_Registered(collector))
        ProcessCollector(registry=self._registry)

    def text(self) -> str:
        """All current values in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry).decode()


@dataclass(eq=False)
class _Registered:
    """A collector as a registry takes it."""

    collect: Collector


def metric(name: str, kind: Kind, help: str, samples: Iterable[Sample]) -> Metric:
    """All ``samples`` under one name; names of counters end in ``_total``, units are seconds and bytes."""
    from prometheus_client.core import Metric

    made = Metric(name.removesuffix("_total"), help, kind)
    for sample in samples:
        made.add_sample(name + sample.suffix, dict(sample.labels), sample.value)
    return made


def one(name: str, kind: Kind, help: str, value: float) -> Metric:
    """A metric with a single value and no labels."""
    return metric(name, kind, help, [Sample(value)])


def _threads() -> Iterator[Metric]:
    yield one("process_threads", "gauge", "Number of threads of this process.", threading.active_count())
