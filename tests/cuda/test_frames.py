"""Frames that are on the GPU already: what is read of a tensor and what is refused."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.errors import ImageError
from edgeface.gpu.device_frame import _Device, _Tensor, _Type, device_frame
from edgeface.gpu.stages import yuv_matrix
from tests.cuda.test_host_pictures import BT709, rgb_by_definition


class Interface:
    """A tensor as CuPy and PyTorch show it."""

    def __init__(self, shape: tuple[int, ...], typestr: str = "|u1", strides: tuple[int, ...] | None = None) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape, "typestr": typestr, "data": (4096, False), "strides": strides, "version": 3
        }  # fmt: skip


class Capsule:
    """A tensor that speaks DLPack only, as a decoder's surface does."""

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...] | None, kind: int = 2, bits: int = 8) -> None:
        dims = (ctypes.c_int64 * len(shape))(*shape)
        steps = (ctypes.c_int64 * len(shape))(*strides) if strides else None
        self._held = dims, steps
        pointer = ctypes.POINTER(ctypes.c_int64)
        self._tensor = _Tensor(
            4096, _Device(kind, 0), len(shape), _Type(1, bits, 1), ctypes.cast(dims, pointer),
            ctypes.cast(steps, pointer) if steps else pointer(), 64,
        )  # fmt: skip

    def __dlpack__(self) -> Any:
        make = ctypes.pythonapi.PyCapsule_New
        make.argtypes, make.restype = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p), ctypes.py_object
        return make(ctypes.addressof(self._tensor), b"dltensor", None)


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(0, 512))
def test_a_picture_with_padded_rows(width: int, height: int, padding: int) -> None:
    strides = (3 * width + padding, 3, 1)
    for tensor, address in ((Interface((height, width, 3), strides=strides), 4096),
                            (Capsule((height, width, 3), strides), 4160)):  # fmt: skip
        frame = device_frame(tensor, "bgr")
        assert (frame.address, frame.width, frame.height, frame.stride) == (address, width, height, strides[0])
        assert frame.layout == "bgr"


def test_packed_tensors_need_not_say_so() -> None:
    assert device_frame(Interface((7, 5, 3))).stride == 15
    assert device_frame(Capsule((7, 5, 3), None)).stride == 15


class Both(Capsule, Interface):
    """A tensor as PyTorch shows it: an interface that names no stream, and DLPack."""

    def __init__(self) -> None:
        Capsule.__init__(self, (7, 5, 3), None)
        Interface.__init__(self, (7, 5, 3))


@pytest.mark.parametrize("stream", [None, 1, 2, 4711])
def test_the_producers_stream_is_kept(stream: int | None) -> None:
    tensor = Interface((7, 5, 3))
    tensor.__cuda_array_interface__["stream"] = stream
    assert device_frame(tensor).stream == stream


def test_a_producer_that_names_no_stream_is_ordered_by_the_legacy_one() -> None:
    assert device_frame(Interface((7, 5, 3))).stream == 1
    assert device_frame(Capsule((7, 5, 3), None)).stream == 1
    both = device_frame(Both())
    assert (both.address, both.stream) == (4160, 1), "by DLPack, which has the producer wait"


@given(st.integers(1, 3000))
def test_nv12_holds_the_chroma_below(height: int) -> None:
    frame = device_frame(Interface((height + (height + 1) // 2, 640)), "nv12", bt709=True)
    assert (frame.width, frame.height, frame.stride, frame.bt709) == (640, height, 640, True)


@pytest.mark.parametrize(
    ("tensor", "layout", "message"),
    [
        (Interface((7, 5, 4)), "rgb", r"expected \[H, W, 3\].*found \[7, 5, 4\]"),
        (Interface((7, 5)), "rgb", r"expected \[H, W, 3\]"),
        (Interface((0, 5, 3)), "rgb", r"expected \[H, W, 3\]"),
        (Interface((3, 7, 5), strides=(35, 5, 1)), "rgb", r"expected \[H, W, 3\]"),
        (Interface((5, 7, 3), strides=(7, 1, 35)), "rgb", r"pixels next to each other.*strides \(7, 1, 35\)"),
        (Interface((5, 7, 3)), "nv12", r"expected \[H \* 3 / 2, W\]"),
        (Interface((5, 7, 3), "<f4"), "rgb", "expected an image of uint8 on the GPU, found the type <f4"),
        (Capsule((5, 7, 3), None, kind=1), "rgb", "found one in the host's memory: pass it as a NumPy array"),
        (Capsule((5, 7, 3), None, bits=32), "rgb", "found 32 bits"),
        (Interface((5, 7, 3)), "yuv", "layout: expected one of rgb, bgr, nv12, found `yuv`"),
        ([1, 2], "rgb", "expected a tensor on a GPU, found list"),
    ],
)
def test_anything_else_is_refused(tensor: object, layout: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        device_frame(tensor, layout)


def test_pytorchs_capsules_are_read() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
    with pytest.raises(ImageError, match="found one in the host's memory"):
        device_frame(torch.zeros((5, 7, 3), dtype=torch.uint8))


@pytest.mark.parametrize("full", [True, False])
def test_the_matrix_is_the_standards(full: bool) -> None:
    rng = np.random.default_rng(0)
    luma, chroma = rng.integers(0, 256, (4, 6), np.uint8), rng.integers(0, 256, (2, 3, 2), np.uint8)
    offset, scale, cr_r, cb_g, cr_g, cb_b = yuv_matrix(*BT709, full)
    grey = scale * (luma.astype(float) - offset)
    u, v = (np.repeat(np.repeat(chroma[..., c], 2, 0), 2, 1).astype(float) - 128 for c in (0, 1))
    rgb = np.stack([grey + cr_r * v, grey + cb_g * u + cr_g * v, grey + cb_b * u], axis=-1)
    np.testing.assert_allclose(np.clip(rgb, 0, 255), rgb_by_definition(luma, chroma, BT709, full), atol=1e-6)
