"""CUDA: which GPU this machine has, the one context that owns it, its memory and a stream.

The driver is asked through its own library, so that a machine without PyCUDA (or without a GPU) can be told what it
lacks; memory and streams are PyCUDA's, in the primary context that TensorRT uses as well.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from numpy.typing import NDArray

from edgeface.common import machine
from edgeface.common.install import install, missing
from edgeface.errors import BackendError, MissingDependencyError

_DRIVER = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h


@dataclass(frozen=True)
class Gpu:
    """The first GPU: ``compute_capability`` such as "8.7", ``cuda`` the newest CUDA its driver runs, memory in MB."""

    name: str
    compute_capability: str
    cuda: str
    memory_mb: int


def find_gpu(index: int = 0) -> Gpu:
    """GPU ``index``, by default the one that engines are built for and run on.

    Raises ``BackendError`` with the reason where there is none.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise BackendError(f"no NVIDIA GPU here: the driver's library cannot be loaded ({error})") from error
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        raise BackendError(f"no NVIDIA GPU here: the driver finds none (code {code})")
    if not 0 <= index < count.value:
        raise BackendError(f"no GPU {index} here: found {count.value}, counted from 0")
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDriverGetVersion(ctypes.byref(version))
    name, size = ctypes.create_string_buffer(256), ctypes.c_size_t()
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    major, minor = (_attribute(driver, device, which) for which in (_MAJOR, _MINOR))
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), f"{major}.{minor}", cuda, size.value // 2**20)


def _attribute(driver: Any, device: ctypes.c_int, which: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value


@cache
def keep_context(index: int = 0) -> None:
    """Hold the primary context of GPU ``index`` until the process ends.

    The CUDA runtime inside TensorRT keeps modules and handles of that context. It would be destroyed with its last user
    (cuDevicePrimaryCtxRelease), and the next engine of the process would find handles of a context that is gone.
    """
    driver = ctypes.CDLL(_DRIVER)
    device, context = ctypes.c_int(), ctypes.c_void_p()
    code = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), index)
    code = code or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    if code:
        raise BackendError(f"no CUDA context on GPU {index}: the driver fails with code {code}")


class Device:
    """The primary context of the first GPU, one stream in it, and named buffers that only ever grow.

    All work happens between ``with device.active():``, on whatever thread; two threads must not be inside at once.
    """

    def __init__(self) -> None:
        self._driver = _pycuda()
        self._driver.init()
        self._context: Any = self._driver.Device(0).retain_primary_context()
        self._buffers: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        with self.active():
            self._stream: Any = self._driver.Stream()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the context this thread's for a while."""
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    @property
    def stream(self) -> int:
        """The stream's handle, as TensorRT takes it."""
        return int(self._stream.handle)

    def buffer(self, name: str, size: int) -> int:
        """Address of ``size`` bytes or more; what a smaller buffer of that name held is lost."""
        if self._sizes.get(name, -1) < size:
            self._buffers.pop(name, None)  # PyCUDA frees what no one holds
            self._buffers[name] = self._driver.mem_alloc(max(size, 1))
            self._sizes[name] = size
        return int(self._buffers[name])

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Queue a copy to the device; ``array`` has to live until ``synchronize``."""
        self._driver.memcpy_htod_async(address, array, self._stream)

    def download(self, arrays: Mapping[int, NDArray[Any]]) -> None:
        """Copy from each address into its array and wait for all the stream's work."""
        for address, array in arrays.items():
            self._driver.memcpy_dtoh_async(array, address, self._stream)
        self._stream.synchronize()

    def close(self) -> None:
        """Free everything; closing twice is harmless."""
        if self._context is None:
            return
        with self.active():
            self._buffers.clear()
            self._stream = None
        self._context.detach()
        self._context = None


def _pycuda() -> Any:
    try:
        import pycuda.driver as driver
    except ImportError as error:
        if machine.jetson():
            raise MissingDependencyError(
                f"an engine needs `pycuda`, which is not installed: {install('pycuda')}, with JetPack's CUDA"
            ) from error
        raise missing("pycuda", "gpu", "running an engine") from error
    return driver
