"""Numbers of a running process in Prometheus' text format, collected when they are asked for.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4). There is no global state: a
collector is a function that reads counters which others keep anyway.
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

Kind = Literal["counter", "gauge", "summary"]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Sample:
    """One value of a family; ``suffix`` is "_sum" or "_count" in a summary."""

    value: float
    labels: Labels
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    """All samples under one name. Names of counters end in ``_total``, units are seconds and bytes."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"name: expected letters, digits and _, and _total on counters only, found {self.name!r}")

    def lines(self) -> Iterator[str]:
        """Its lines in the text format."""
        yield f"# HELP {self.name} {self.help.translate(_ESCAPES)}"
        yield f"# TYPE {self.name} {self.kind}"
        for sample in self.samples:
            pairs = ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in sample.labels.items())
            yield f"{self.name}{sample.suffix}{{{pairs}}} {number(sample.value)}".replace("{} ", " ")


Collector = Callable[[], Iterable[Family]]


class Metrics:
    """Collectors, asked in their order at every ``text``; families of the same name are joined."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = list(collectors)
        self._lock = threading.Lock()

    def add(self, collector: Collector) -> None:
        """Ask one more collector from now on."""
        with self._lock:
            self._collectors.append(collector)

    def text(self) -> str:
        """Everything now."""
        with self._lock:
            collectors = tuple(self._collectors)
        joined: dict[str, Family] = {}
        for collect in collectors:
            for family in collect():
                first = joined.get(family.name)
                samples = (first.samples if first else ()) + family.samples
                joined[family.name] = Family(family.name, family.kind, family.help, samples)
        return "".join(f"{line}\n" for family in joined.values() for line in family.lines())


def number(value: float) -> str:
    """A number as the format writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def one(name: str, kind: Kind, help: str, value: float) -> Family:
    """A family of a single sample without labels."""
    return Family(name, kind, help, (Sample(value, {}),))


def process_families() -> Iterator[Family]:
    """What leaks show in: memory, file descriptors and threads, under the names that Prometheus' own clients use."""
    times = os.times()
    yield one("process_cpu_seconds_total", "counter", "Processor time used.", times.user + times.system)
    yield one("process_threads", "gauge", "Threads of this process.", threading.active_count())
    if os.path.isdir("/proc/self/fd"):
        with open("/proc/self/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        yield one("process_resident_memory_bytes", "gauge", "Memory held now.", resident)
        yield one("process_open_fds", "gauge", "Open file descriptors.", len(os.listdir("/proc/self/fd")))
