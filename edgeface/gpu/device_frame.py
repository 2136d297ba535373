"""Frames that are in the GPU's memory already: PyTorch's and CuPy's tensors and decoders' surfaces, without a copy."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgeface.cuda.stream import LEGACY_STREAM
from edgeface.errors import ImageError

FORMATS = ("rgb", "bgr", "nv12")
_CUDA, _UINT = 2, 1  # kDLCUDA and kDLUInt in dlpack.h


@dataclass(frozen=True)
class DeviceFrame:
    """An image at ``address``, ``stride`` bytes from row to row.

    ``layout`` "rgb" or "bgr": uint8 ``[H, W, 3]``; "nv12": uint8 ``[H + (H + 1) // 2, W]``, the rows of Cb and Cr below
    those of Y, or from ``chroma`` on where that is an address. ``full_range`` and ``bt709`` say how NV12 becomes RGB.
    ``owner`` keeps the memory alive. ``stream`` is the handle of the CUDA stream that may still be at work on it, which
    the GPU then waits for (``None``: the image is there).
    """

    address: int
    width: int
    height: int
    stride: int
    layout: str = "rgb"
    bt709: bool = False
    full_range: bool = False
    owner: Any = None
    chroma: int = 0
    stream: int | None = None


def device_frame(tensor: Any, layout: str = "rgb", bt709: bool = False, full_range: bool = False) -> DeviceFrame:
    """The frame in a tensor on the GPU, by ``__cuda_array_interface__`` or DLPack, without a copy.

    What the producer has queued on the stream that it names is waited for, on the GPU. Raises ``ImageError`` for
    anything else than a uint8 image of the given ``layout`` whose pixels lie next to each other.
    """
    if layout not in FORMATS:
        raise ImageError(f"layout: expected one of {', '.join(FORMATS)}, found `{layout}`")
    address, shape, strides, owner, stream = _places(tensor)
    wanted_dims, pixel = (2, (1,)) if layout == "nv12" else (3, (3, 1))
    if len(shape) != wanted_dims or 0 in shape or (layout != "nv12" and shape[2] != 3) or strides[1:] != pixel:
        kind = "[H * 3 / 2, W]" if layout == "nv12" else "[H, W, 3]"
        raise ImageError(
            f"expected {kind} with its pixels next to each other, found {list(shape)} with strides {strides}"
        )
    height = shape[0] if layout != "nv12" else shape[0] * 2 // 3
    return DeviceFrame(address, shape[1], height, strides[0], layout, bt709, full_range, owner, stream=stream)


class Plane(NamedTuple):
    """One plane of an image on the GPU: where it begins, the bytes from row to row, and what ``DeviceFrame`` says."""

    address: int
    stride: int
    owner: Any
    stream: int | None


def device_plane(tensor: Any) -> Plane:
    """A plane of bytes in a tensor on the GPU, rows first. Raises ``ImageError`` for anything else."""
    address, _, strides, owner, stream = _places(tensor)
    return Plane(address, strides[0], owner, stream)


def _places(tensor: Any) -> tuple[int, tuple[int, ...], tuple[int, ...], Any, int | None]:
    """Address, shape, strides, what keeps the memory alive, and the stream that may be at work on it."""
    interface = getattr(tensor, "__cuda_array_interface__", None)
    if interface is not None and ("stream" in interface or not hasattr(tensor, "__dlpack__")):
        return *_from_interface(interface), tensor, interface.get("stream", LEGACY_STREAM)
    if hasattr(tensor, "__dlpack__"):  # PyTorch's: its interface names no stream, its DLPack brings one into order
        capsule = tensor.__dlpack__()
        return *_from_capsule(capsule), capsule, LEGACY_STREAM  # taken for granted by a producer who is told nothing
    raise ImageError(f"expected a tensor on a GPU, found {type(tensor).__name__}")


def _from_interface(interface: dict[str, Any]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    if interface["typestr"] != "|u1":
        raise ImageError(f"expected an image of uint8 on the GPU, found the type {interface['typestr']}")
    shape = tuple(interface["shape"])
    return int(interface["data"][0]), shape, tuple(interface.get("strides") or _packed(shape))


class _Device(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("index", ctypes.c_int32)]


class _Type(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


def _from_capsule(capsule: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """The capsule is only looked into: as long as it lives unused, its tensor does."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
    tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    if tensor.device.kind != _CUDA:
        raise ImageError("expected a tensor on a GPU, found one in the host's memory: pass it as a NumPy array")
    kind = tensor.dtype
    if (kind.code, kind.bits, kind.lanes) != (_UINT, 8, 1):
        raise ImageError(f"expected an image of uint8 on the GPU, found {kind.bits} bits of DLPack's type {kind.code}")
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    strides = tuple(tensor.strides[axis] for axis in range(tensor.ndim)) if tensor.strides else _packed(shape)
    return (tensor.data or 0) + tensor.byte_offset, shape, strides


def _packed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in bytes of a uint8 tensor without gaps."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return tuple(strides)
