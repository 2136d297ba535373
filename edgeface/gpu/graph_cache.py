"""Work that comes again and again on the same memory, captured at its second time and launched as one graph after."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable

from edgeface.cuda.stream import Graph, Stream
from edgeface.errors import BackendError

_KEPT = 64

Key = tuple[object, ...]

log = logging.getLogger("edgeface.gpu")


class GraphCache:
    """The latest graphs of a stream, by what they do. With ``enabled`` off all work is queued step by step."""

    def __init__(self, stream: Stream, enabled: bool) -> None:
        self._stream, self.enabled = stream, enabled
        self._graphs: OrderedDict[Key, Graph | None] = OrderedDict()

    def run(self, key: Key, queue: Callable[[], None]) -> None:
        """Have done what ``queue`` queues, and always queues for this ``key``.

        The first time is step by step, since networks set up then what a capture may not hold.
        """
        graph = self._graphs.get(key)
        if graph is None and self.enabled and key in self._graphs:
            graph = self._captured(queue)
        if graph is not None:
            self._stream.launch_graph(graph)
        else:
            queue()
        self._remember(key, graph)

    def forget(self) -> None:
        """Free all graphs, as before memory goes that they work on."""
        for graph in self._graphs.values():
            if graph is not None:
                graph.free()
        self._graphs.clear()

    def _captured(self, queue: Callable[[], None]) -> Graph | None:
        """The work as a graph; ``None``, from then on for all work, where the driver or a network refuses it."""
        try:
            with self._stream.capture() as made:
                queue()
        except BackendError as error:
            log.warning("no CUDA graphs, every stage is launched by itself: %s", error)
            self.enabled = False
            return None
        return made[0]

    def _remember(self, key: Key, graph: Graph | None) -> None:
        """Keep the latest; a key without a graph has been seen once."""
        self._graphs[key] = graph
        self._graphs.move_to_end(key)
        if len(self._graphs) > _KEPT:
            _, oldest = self._graphs.popitem(last=False)
            if oldest is not None:
                oldest.free()
