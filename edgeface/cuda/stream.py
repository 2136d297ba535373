"""Work in order on a GPU: streams, events, and graphs captured from a stream."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgeface.cuda.context import Context, PinnedBuffer
from edgeface.cuda.transfers import D2D, D2H, H2D, WAIT, Entry
from edgeface.errors import BackendError

_NON_BLOCKING, _THREAD_LOCAL = 1, 1  # CU_STREAM_NON_BLOCKING, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL in cuda.h
_TIMED, _EXTERNAL = 0, 1  # CU_EVENT_DEFAULT, CU_EVENT_RECORD_EXTERNAL
LEGACY_STREAM = 1
"""CU_STREAM_LEGACY: the stream that other libraries use unless told otherwise."""

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Graph:
    """A captured sequence of work and the copies it makes at every launch."""

    handle: int
    copies: list[Entry]
    free: Callable[[], None]


class Stream:
    """Work in order. ``handle`` is the stream as TensorRT takes it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ledger = context.ledger
        self.handle = context.handle("cuStreamCreate", _NON_BLOCKING)
        self.free = context.on_close(lambda: context.call("cuStreamDestroy_v2", self.handle))
        self._other = Event(context)
        self._capturing = False

    def upload(self, address: int, pinned: PinnedBuffer, size: int, offset: int = 0) -> None:
        """Queue a copy of ``size`` bytes to the device; the pinned bytes must stay until ``synchronize``."""
        self._context.call("cuMemcpyHtoDAsync_v2", address, pinned.pointer + offset, size, self.handle)
        self._ledger.record(H2D, size)

    def download(self, pinned: PinnedBuffer, address: int, size: int, offset: int = 0) -> None:
        """Queue a copy of ``size`` bytes to the host, there after ``synchronize``."""
        self._context.call("cuMemcpyDtoHAsync_v2", pinned.pointer + offset, address, size, self.handle)
        self._ledger.record(D2H, size)

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy inside the device."""
        self._context.call("cuMemcpyDtoDAsync_v2", target, source, size, self.handle)
        self._ledger.record(D2D, size)

    def clear(self, address: int, words: int) -> None:
        """Queue zeros into ``words`` 32-bit words."""
        self._context.call("cuMemsetD32Async", address, 0, words, self.handle)

    def launch(self, function: int, blocks: Grid, threads: Grid, arguments: NDArray[Any]) -> None:
        """Queue a kernel whose one parameter is the struct that ``arguments`` (a structured scalar array) holds."""
        pointer = ctypes.c_void_p(arguments.ctypes.data)
        self._context.call("cuLaunchKernel", function, *blocks, *threads, 0, self.handle, ctypes.byref(pointer), None)

    def record(self, event: Event) -> None:
        """Queue the taking of a time; in a capture it becomes a step of the graph, taken again at every launch."""
        flags = _EXTERNAL if self._capturing else 0
        self._context.call("cuEventRecordWithFlags", event.handle, self.handle, flags)

    def wait_for(self, other: int) -> None:
        """Have all that is queued from now on wait for what the stream of handle ``other`` holds; the host does not."""
        self._context.call("cuEventRecord", self._other.handle, other)
        self._context.call("cuStreamWaitEvent", self.handle, self._other.handle, 0)

    def synchronize(self) -> None:
        """Wait for everything queued."""
        self._context.call("cuStreamSynchronize", self.handle)
        self._ledger.record(WAIT)

    @contextmanager
    def capture(self) -> Iterator[list[Graph]]:
        """Work queued in here is not run but becomes the one graph in the list afterwards.

        Nothing may be allocated or freed meanwhile, which is why Python's collector, that may come upon someone's
        tensors, has to wait.
        """
        made: list[Graph] = []
        with _no_collection():
            self._context.call("cuStreamBeginCapture_v2", self.handle, _THREAD_LOCAL)
            self._capturing = True
            try:
                with self._ledger.capturing() as copies:
                    yield made
            except BaseException:
                self._abandon_capture()
                raise
            finally:
                self._capturing = False
            graph = self._end_capture()
        made.append(self._instantiated(graph, copies))

    def _end_capture(self) -> ctypes.c_void_p:
        graph = ctypes.c_void_p()
        self._context.call("cuStreamEndCapture", self.handle, ctypes.byref(graph))
        return graph

    def _abandon_capture(self) -> None:
        """Have the stream leave its capture, which the failed call may have ended already."""
        with suppress(BackendError):
            self._context.call("cuGraphDestroy", self._end_capture())

    def _instantiated(self, graph: ctypes.c_void_p, copies: list[Entry]) -> Graph:
        context = self._context
        try:
            handle = context.handle("cuGraphInstantiateWithFlags", graph, 0)
        finally:
            context.call("cuGraphDestroy", graph)
        return Graph(handle, copies, context.on_close(lambda: context.call("cuGraphExecDestroy", handle)))

    def launch_graph(self, graph: Graph) -> None:
        """Queue all of a captured sequence with one call."""
        self._context.call("cuGraphLaunch", graph.handle, self.handle)
        self._ledger.replay(graph.copies)


class Event:
    """A moment in a stream."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.handle = context.handle("cuEventCreate", _TIMED)
        self.free = context.on_close(lambda: context.call("cuEventDestroy_v2", self.handle))

    def ms_since(self, earlier: Event) -> float:
        """Milliseconds between two recorded events of a stream that has been waited for."""
        taken = ctypes.c_float()
        self._context.call("cuEventElapsedTime", ctypes.byref(taken), earlier.handle, self.handle)
        return float(taken.value)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python's cyclic garbage is left lying."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
