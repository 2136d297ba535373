"""The CUDA driver's C interface through ctypes: every call is checked, every failure is one sentence.

PyCUDA captures no graphs, and its wheel is built on the user's machine; the driver's own library is on every machine
with a GPU, its interface does not change, and the tests run it against one that is emulated.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from edgeface.errors import BackendError

LIBRARY = "libcuda.so.1"
OLDEST = 11040
"""CUDA 11.4: JetPack 5's, the first that instantiates graphs with flags."""

_HANDLE = POINTER(c_void_p)
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (_HANDLE, c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (_HANDLE,),
    "cuCtxSynchronize": (),
    "cuMemGetInfo_v2": (POINTER(c_size_t), POINTER(c_size_t)),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemHostAlloc": (_HANDLE, c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemHostGetDevicePointer_v2": (POINTER(c_uint64), c_void_p, c_uint),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuMemsetD32Async": (c_uint64, c_uint, c_size_t, c_void_p),
    "cuStreamCreate": (_HANDLE, c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamWaitEvent": (c_void_p, c_void_p, c_uint),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, _HANDLE),
    "cuGraphInstantiateWithFlags": (_HANDLE, c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
    "cuEventCreate": (_HANDLE, c_uint),
    "cuEventDestroy_v2": (c_void_p,),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventRecordWithFlags": (c_void_p, c_void_p, c_uint),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cuModuleLoadData": (_HANDLE, c_void_p),
    "cuModuleUnload": (c_void_p,),
    "cuModuleGetFunction": (_HANDLE, c_void_p, c_char_p),
    "cuLaunchKernel": (c_void_p, *[c_uint] * 7, c_void_p, _HANDLE, _HANDLE),
}
"""Name and parameters of every function used, as cuda.h declares them; all return an error code."""

_NO_MEMORY, _NO_DEVICE, _DRIVER_TOO_OLD = 2, 100, (35, 222, 803)
_ADVICE = {
    _NO_MEMORY: "the GPU's memory is full: close other programs or run smaller frames",
    _NO_DEVICE: "the driver finds no GPU",
    **dict.fromkeys(_DRIVER_TOO_OLD, "the GPU's driver is older than what it is asked to run: update the driver"),
    209: "the compiled kernels are for another GPU: delete the folder `kernels` in edgeface's cache",
    700: "a kernel touched memory that is not its own; this is a bug, please report it with the command",
    999: "the driver failed; a suspended or updated machine may need a restart",
}


class Driver:
    """The driver's library, initialised. Raises ``BackendError`` where it is missing, too old or finds no GPU."""

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            raise BackendError(
                f"no NVIDIA GPU with its driver here, the driver's library cannot be loaded ({error})"
            ) from error
        self._functions = {name: self._function(name, types) for name, types in FUNCTIONS.items()}
        version = c_int()
        self.call("cuInit", 0)
        self.call("cuDriverGetVersion", ctypes.byref(version))
        self.version = f"{version.value // 1000}.{version.value % 1000 // 10}"
        if version.value < OLDEST:
            raise BackendError(
                f"the NVIDIA driver here runs CUDA {self.version}, expected {OLDEST // 1000}.{OLDEST % 1000 // 10} "
                "or newer: update the driver (on a Jetson: JetPack)"
            )

    @staticmethod
    def installed(library: str = LIBRARY) -> bool:
        """Whether this machine has the driver's library at all."""
        try:
            ctypes.CDLL(library)
        except OSError:
            return False
        return True

    def _function(self, name: str, types: tuple[Any, ...]) -> Any:
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise BackendError(f"the NVIDIA driver here is too old: it lacks {name}; update the driver") from error
        function.argtypes, function.restype = types, c_int
        return function

    def call(self, name: str, *arguments: Any) -> None:
        """Call ``name``. Raises ``BackendError`` with the driver's words and what to do where it fails."""
        code = self._functions[name](*arguments)
        if code:
            advice = _ADVICE.get(code, self._text("cuGetErrorString", code) or "no description")
            raise BackendError(f"CUDA: {name} failed with {self._text('cuGetErrorName', code) or code}: {advice}")

    def handle(self, name: str, *arguments: Any) -> int:
        """Call ``name``, whose first parameter is where it puts a handle, and return that."""
        made = c_void_p()
        self.call(name, ctypes.byref(made), *arguments)
        return made.value or 0

    def number(self, name: str, *arguments: Any, kind: Any = c_int) -> Any:
        """Call ``name``, whose first parameter is where it puts a number of ``kind``, and return that."""
        made = kind()
        self.call(name, ctypes.byref(made), *arguments)
        return made.value

    def _text(self, name: str, code: int) -> str:
        words = c_char_p()
        self._functions[name](code, ctypes.byref(words))
        return (words.value or b"").decode(errors="replace")
