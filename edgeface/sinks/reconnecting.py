"""What sinks that send results elsewhere share: options in their URI, patience with a peer that is away, counters.

Options follow a ``#`` as ``key=value&key=value``, so that they cannot be taken for a part of the address. A wrong URI,
a missing package or a taken port is an error at once; a peer that is away is none: it may come up later.
"""

from __future__ import annotations

import logging
import random
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import SplitResult, parse_qsl, urlsplit

from edgeface.errors import SinkError
from edgeface.inference.result import FrameResult
from edgeface.sinks.base import ContextSink, Sink
from edgeface.sinks.base import SinkCounters

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0
"""Between attempts: doubled each time; a peer's return is noticed within the longest."""

log = logging.getLogger("edgeface.live")


def open_live(scheme: str, uri: str) -> Sink:
    """Open the live sink of one of ``sink.LIVE_SCHEMES``."""
    if scheme == "display":
        from edgeface.sinks.display import DisplaySink

        return DisplaySink(uri)
    if scheme in ("http", "https"):
        from edgeface.sinks.http import HttpSink

        return HttpSink(uri)
    if scheme == "rtsp":
        from edgeface.sinks.rtsp import RtspSink

        return RtspSink(uri)
    if scheme == "webhook":
        from edgeface.sinks.webhook import WebhookSink

        return WebhookSink(uri)
    from edgeface.sinks.mqtt import MqttSink

    return MqttSink(uri)


class Given:
    """Address and options of a sink's URI; ``known`` are the options there are, with their defaults."""

    def __init__(self, uri: str, known: Mapping[str, str | float]) -> None:
        address, _, options = uri.partition("#")
        self.address = address
        self.name = redacted(address)
        self._values: dict[str, str | float] = dict(known)
        for key, value in parse_qsl(options, keep_blank_values=True):
            if key not in known:
                expected = ", ".join(known) or "none"
                raise SinkError(f"`{self.name}` has no option `{key}`, expected one of: {expected}")
            self._values[key] = value

    def url(self) -> SplitResult:
        """The address in parts. Raises ``SinkError`` where it is none."""
        try:
            parts = urlsplit(self.address)
            _ = parts.port
        except ValueError as error:
            raise SinkError(f"`{self.name}` is no address: {error}") from error
        return parts

    def text(self, key: str) -> str:
        return str(self._values[key])

    def number(self, key: str, least: float, most: float) -> float:
        """A number within bounds. Raises ``SinkError`` for anything else."""
        try:
            value = float(self._values[key])
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            wanted = f"a number from {least:g} to {most:g}"
            raise SinkError(f"`{self.name}`: option `{key}` expects {wanted}, found `{self._values[key]}`")
        return value


def redacted(address: str) -> str:
    """An address for logs and metrics: without user, password and query, where secrets are kept."""
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme == "webhook":
            inner = urlsplit(address.partition(":")[2])
            return f"webhook:{inner.scheme}://{inner.netloc.rpartition('@')[2]}/…"  # its path often is the secret
        return parts._replace(netloc=host, query="", fragment="").geturl() if host else address.partition("?")[0]
    except ValueError:
        return address.partition(":")[0] + ":…"


class PatientSink(ContextSink):
    """A live sink with a peer: what fails is tried again, after growing waits, until it succeeds or is given up.

    It blocks while the peer is away, so it belongs into a ``BoundedSink``, which drops the oldest results meanwhile.
    """

    live = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.counters = SinkCounters()
        self.stopped = threading.Event()
        self._away = False

    @abstractmethod
    def append(self, result: FrameResult) -> None: ...

    def abort(self) -> None:
        """Give up what is being tried."""
        self.stopped.set()

    def patiently(self, attempt: Callable[[], bool], attempts: int | None = None) -> bool:
        """Call ``attempt`` until it raises no ``OSError``; its answer says whether the result was taken.

        ``False``, and counted as dropped, is also what was given up.
        """
        wait_s = _FIRST_WAIT_S
        tried = 0
        while not self.stopped.is_set():
            try:
                taken = attempt()
            except OSError as error:
                tried += 1
                self.count(errors=1)
                self._note_absence(error)
                if attempts is not None and tried >= attempts:
                    break
                self.stopped.wait(wait_s * random.uniform(0.75, 1.0))
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                self._note_return()
                self.count(written=int(taken), dropped=int(not taken))
                return taken
        self.count(dropped=1)
        return False

    def count(self, **more: int) -> None:
        """Add to the counters."""
        self.counters = replace(self.counters, **{key: getattr(self.counters, key) + n for key, n in more.items()})

    def _note_absence(self, error: OSError) -> None:
        if not self._away:
            self._away = True
            log.warning("%s: %s; trying again", self.name, error, extra={"sink": self.name, "state": "reconnecting"})

    def _note_return(self) -> None:
        if self._away:
            self._away = False
            self.count(reconnects=1)
            log.info("%s: is back", self.name, extra={"sink": self.name, "state": "live"})
