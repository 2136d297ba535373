"""What sinks that send results elsewhere share: options in their URI, patience with a peer that is away, counters.

Options follow a ``#`` as ``key=value&key=value``, so that they cannot be taken for a part of the address. A wrong URI,
a missing package or a taken port is an error at once; a peer that is away is none: it may come up later.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import replace

from edgeface.sinks.base import Sink, SinkCounters

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0
"""Between attempts: doubled each time; a peer's return is noticed within the longest."""

log = logging.getLogger("edgeface.live")


class ReconnectingSink(Sink):
    """A live sink with a peer: what fails is tried again, after growing waits, until it succeeds or is given up.

    It blocks while the peer is away, so it belongs into a ``BoundedSink``, which drops the oldest results meanwhile.
    """

    live = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._counters = SinkCounters()
        self.stopped = threading.Event()
        self._away = False

    @property
    def counters(self) -> SinkCounters:
        """How often it delivered, dropped, failed and connected again."""
        return self._counters

    def abort(self) -> None:
        """Give up what is being tried."""
        self.stopped.set()

    def retry(self, attempt: Callable[[], bool], attempts: int | None = None) -> bool:
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
        kept = self._counters
        self._counters = replace(kept, **{key: getattr(kept, key) + n for key, n in more.items()})

    def _note_absence(self, error: OSError) -> None:
        if not self._away:
            self._away = True
            log.warning("%s: %s; trying again", self.name, error, extra={"sink": self.name, "state": "reconnecting"})

    def _note_return(self) -> None:
        if self._away:
            self._away = False
            self.count(reconnects=1)
            log.info("%s: is back", self.name, extra={"sink": self.name, "state": "live"})
