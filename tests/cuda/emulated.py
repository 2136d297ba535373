"""A GPU on the CPU: the emulated driver (``driver.cpp``, which runs the real kernels) and networks in its memory."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.common.files import atomic_path, cache_dir
from edgeface.cuda.context import Context
from edgeface.cuda.driver import Driver
from edgeface.errors import BackendError
from edgeface.runtime.base import Backend, TensorInfo
from tests.cuda.native import HEADERS

IMAGE = b"emulated kernels"
SOURCES = (Path(__file__).with_name("driver.cpp"), Path(__file__).with_name("emulated.h"))
FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-pthread", "-I/usr/local/cuda/include")


@cache
def library_path() -> Path:
    """The driver, compiled once per source; skips where there is no C++ compiler."""
    compiler = shutil.which("c++") or shutil.which("g++") or pytest.skip("no C++ compiler: apt install g++")
    sources = sorted([*HEADERS.glob("*.h"), HEADERS / "kernels.cu", *SOURCES])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + " ".join(FLAGS).encode())
    path = cache_dir() / "tests" / f"driver-{digest.hexdigest()[:16]}.so"
    if not path.is_file():
        with atomic_path(path) as made:
            command = [compiler, *FLAGS, f"-I{HEADERS}", str(SOURCES[0]), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return path


@cache
def library() -> Any:
    loaded = ctypes.CDLL(str(library_path()))
    loaded.emulated_limit.argtypes = [ctypes.c_size_t]
    loaded.emulated_fail.argtypes = [ctypes.c_char_p]
    loaded.cuLaunchHostFunc.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    return loaded


def driver() -> Driver:
    return Driver(str(library_path()))


def context() -> Context:
    return Context(driver=driver())


def alive() -> int:
    """How many contexts, buffers, streams, graphs, events and modules no one has freed."""
    return int(library().emulated_live())


class EmulatedEngine:
    """A CPU backend as a network in the emulated GPU's memory, run when the stream is."""

    device = "emulated GPU"

    def __init__(
        self,
        backend: Backend,
        batches: tuple[int, int] = (1, 64),
        capturable: bool = True,
        refuses_capture: bool = False,
    ) -> None:
        self._backend, self.batches, self.capturable = backend, batches, capturable
        self._refuses_capture = refuses_capture
        self.inputs, self.outputs = backend.inputs, backend.outputs
        self.bound: list[tuple[int, ...]] = []

    def bind(self, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> EmulatedCall:
        count = shapes[self.inputs[0].name][0]
        assert self.batches[0] <= count <= self.batches[1], f"a batch of {count}"
        assert all(address % 256 == 0 for address in addresses.values()), "TensorRT's alignment"
        self.bound += [shapes[info.name] for info in self.inputs]
        return EmulatedCall(self._backend, shapes, addresses, self._refuses_capture)

    def close(self) -> None:
        self._backend.close()


class EmulatedCall:
    def __init__(
        self,
        backend: Backend,
        shapes: Mapping[str, tuple[int, ...]],
        addresses: Mapping[str, int],
        refuses_capture: bool,
    ) -> None:
        self._backend, self._addresses, self._refuses_capture = backend, addresses, refuses_capture
        self._feed = {info.name: self._view(info, shapes[info.name]) for info in backend.inputs}
        self._callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._run)

    def _view(self, info: TensorInfo, shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape)) * info.dtype.itemsize
        memory = (ctypes.c_uint8 * size).from_address(self._addresses[info.name])
        return np.ctypeslib.as_array(memory).view(info.dtype).reshape(shape)

    def _run(self, _: object) -> None:
        answers = self._backend.infer(self._feed)
        for info in self._backend.outputs:
            self._view(info, answers[info.name].shape)[...] = answers[info.name]

    def enqueue(self, stream: int) -> None:
        if self._refuses_capture and library().emulated_capturing():
            library().cuCtxSynchronize()  # spoils the capture
            raise BackendError("this network waits in its middle")
        library().cuLaunchHostFunc(stream, ctypes.cast(self._callback, ctypes.c_void_p), None)

    def close(self) -> None:
        """Nothing is held."""
