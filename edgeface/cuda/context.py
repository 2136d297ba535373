"""A GPU's context and what lives in it: buffers, pinned memory, kernels (and ``cuda.stream``), freed on every way out.

One thread owns the context: the one that made it. Every copy and every wait goes into the context's ledger.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from edgeface.cuda.driver import Driver
from edgeface.cuda.transfers import TransferStats
from edgeface.errors import BackendError

_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18  # CU_DEVICE_ATTRIBUTE_… in cuda.h
_MAPPED = 2  # CU_MEMHOSTALLOC_DEVICEMAP


class Context:
    """The primary context of GPU ``index``, which TensorRT uses as well. Use it as a context manager.

    Raises ``BackendError`` where there is no such GPU.
    """

    def __init__(self, index: int = 0, driver: Driver | None = None, ledger: TransferStats | None = None) -> None:
        self.driver = driver or Driver()
        self.ledger = ledger or TransferStats()
        count = self.driver.number("cuDeviceGetCount")
        if not 0 <= index < count:
            raise BackendError(f"no GPU {index} here: found {count}, counted from 0")
        self._device = self.driver.number("cuDeviceGet", index)
        self._thread = threading.get_ident()
        self._releases: dict[int, Callable[[], None]] = {}
        self._next = 0
        self._handle = self.driver.handle("cuDevicePrimaryCtxRetain", self._device)
        try:
            self.driver.call("cuCtxPushCurrent_v2", self._handle)
        except BackendError:
            self.driver.call("cuDevicePrimaryCtxRelease_v2", self._device)
            raise

    @property
    def name(self) -> str:
        text = ctypes.create_string_buffer(256)
        self.driver.call("cuDeviceGetName", text, len(text), self._device)
        return text.value.decode(errors="replace")

    @property
    def capability(self) -> int:
        """The GPU's architecture as nvcc writes it: 87 for 8.7."""
        return 10 * self._attribute(_MAJOR) + self._attribute(_MINOR)

    @property
    def shares_memory(self) -> bool:
        """Whether host and GPU use the same memory, as on a Jetson."""
        return bool(self._attribute(_INTEGRATED))

    def _attribute(self, which: int) -> int:
        return int(self.driver.number("cuDeviceGetAttribute", which, self._device))

    def call(self, name: str, *arguments: object) -> None:
        """A driver call on the thread that owns the context. Raises ``BackendError`` on another one."""
        if not self._handle:
            raise BackendError("this CUDA context is closed")
        if threading.get_ident() != self._thread:
            raise BackendError("this CUDA context belongs to the thread that made it: hand the work to that thread")
        self.driver.call(name, *arguments)

    def handle(self, name: str, *arguments: object) -> int:
        made = ctypes.c_void_p()
        self.call(name, ctypes.byref(made), *arguments)
        return made.value or 0

    def on_close(self, release: Callable[[], None]) -> Callable[[], None]:
        """Have ``release`` called when the context closes; the result calls it now, once."""
        key, self._next = self._next, self._next + 1
        self._releases[key] = release

        def now() -> None:
            if self._releases.pop(key, None):
                release()

        return now

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What was made in here is freed where it fails half-way."""
        first = self._next
        try:
            yield
        except BaseException:
            for key in sorted((key for key in self._releases if key >= first), reverse=True):
                with suppress(BackendError):  # the first error is the one to raise
                    self._releases.pop(key)()
            raise

    def free_bytes(self) -> int:
        """Memory of the GPU that no one uses."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def close(self) -> None:
        """Free all that was made here, the latest first; closing twice is harmless.

        What cannot be freed holds up nothing else: after a kernel has failed, the driver refuses every call, and the
        error that says so was raised where it happened. Raises ``BackendError`` on another thread than the owner's.
        """
        if not self._handle:
            return
        if threading.get_ident() != self._thread:
            raise BackendError("this CUDA context belongs to the thread that made it: close it there")
        with suppress(BackendError):
            self.call("cuCtxSynchronize")  # copies may be under way still, in memory that is freed next
        while self._releases:
            with suppress(BackendError):
                self._releases.pop(max(self._releases))()
        self._handle = 0
        with suppress(BackendError):
            self.driver.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
        with suppress(BackendError):
            self.driver.call("cuDevicePrimaryCtxRelease_v2", self._device)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextmanager
def current_context(index: int = 0, driver: Driver | None = None) -> Iterator[None]:
    """Have the primary context of GPU ``index`` be the calling thread's for a while, as other libraries want it."""
    driver = driver or Driver()
    device = driver.number("cuDeviceGet", index)
    handle = driver.handle("cuDevicePrimaryCtxRetain", device)
    try:
        driver.call("cuCtxPushCurrent_v2", handle)
        try:
            yield
        finally:
            driver.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
    finally:
        driver.call("cuDevicePrimaryCtxRelease_v2", device)


class DeviceBuffer:
    """``size`` bytes of the GPU's memory at ``address``."""

    def __init__(self, context: Context, size: int) -> None:
        self.size = max(size, 1)
        made = ctypes.c_uint64()
        context.call("cuMemAlloc_v2", ctypes.byref(made), self.size)
        self.address = int(made.value)
        self.free = context.on_close(lambda: context.call("cuMemFree_v2", self.address))


class PinnedBuffer:
    """``size`` bytes of the host's memory that the GPU copies from without a detour.

    ``array`` uint8 ``[size]`` is a view that dies with the buffer. With ``mapped`` the GPU reads and writes the same
    bytes at ``address``: no copy at all where host and GPU share their memory, and a slow bus where they do not.
    """

    def __init__(self, context: Context, size: int, mapped: bool = False) -> None:
        self.size = max(size, 1)
        self._pointer = context.handle("cuMemHostAlloc", self.size, _MAPPED if mapped else 0)
        self.free = context.on_close(lambda: context.call("cuMemFreeHost", self._pointer))
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * self.size).from_address(self._pointer))
        self.address = 0
        if mapped:
            made = ctypes.c_uint64()
            context.call("cuMemHostGetDevicePointer_v2", ctypes.byref(made), self._pointer, 0)
            self.address = int(made.value)

    @property
    def pointer(self) -> int:
        """The host's own address."""
        return self._pointer


class Kernels:
    """Compiled kernels by name. Raises ``BackendError`` where the driver refuses the ``image`` or lacks a name."""

    def __init__(self, context: Context, image: bytes, names: tuple[str, ...]) -> None:
        held = ctypes.create_string_buffer(image)
        module = context.handle("cuModuleLoadData", ctypes.addressof(held))
        self.free = context.on_close(lambda: context.call("cuModuleUnload", module))
        self.functions: Mapping[str, int] = {
            name: context.handle("cuModuleGetFunction", module, name.encode()) for name in names
        }
