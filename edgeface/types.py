"""The values that travel between stages: frozen structs of arrays, validated once, each with an empty form.

Coordinates are continuous image coordinates in pixels: x to the right, y down, ``(0, 0)`` is the image's top-left
corner and ``(0.5, 0.5)`` the centre of its first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""uint8 ``[H, W, 3]``, RGB, 0…255."""
Floats = NDArray[np.float32]

_T = TypeVar("_T", bound="_Rows")


def _checked(name: str, array: Any, shape: tuple[int | None, ...], dtype: Any) -> NDArray[Any]:
    """Return ``array`` read-only as ``dtype``; raise ``ValueError`` unless its shape matches (``None`` = any)."""
    out = np.asarray(array)
    if out.size == 0:
        out = out.reshape([0 if want is None else want for want in shape] if out.ndim != len(shape) else out.shape)
    if out.ndim != len(shape) or any(want is not None and got != want for got, want in zip(out.shape, shape)):
        wanted = tuple("N" if want is None else want for want in shape)
        raise ValueError(f"{name}: expected shape {wanted}, found {out.shape}")
    out = np.array(out, dtype=dtype)
    out.flags.writeable = False
    return out


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a source.

    ``pixels`` uint8 ``[H, W, 3]`` RGB; ``pts_s`` presentation time in seconds as the container states it (``None``
    for a still image); ``source`` names where it came from; ``index`` counts from 0; ``captured_s`` when a live
    image was taken, by ``time.monotonic`` (``None`` for a file), from which its age is measured.
    """

    pixels: Image
    pts_s: float | None = None
    source: str = ""
    index: int = 0
    captured_s: float | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"pixels: expected uint8 (H, W, 3) RGB, found {self.pixels.dtype} {tuple(self.pixels.shape)}"
            )

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


@dataclass(frozen=True, eq=False)
class _Rows:
    """Aligned arrays, one row a face. Subclasses declare ``(shape, dtype)`` per field in ``_LAYOUT``."""

    def __post_init__(self) -> None:
        counts = set()
        for item in fields(self):
            shape, dtype = item.metadata["layout"]
            array = _checked(f"{type(self).__name__}.{item.name}", getattr(self, item.name), shape, dtype)
            object.__setattr__(self, item.name, array)
            counts.add(len(array))
        if len(counts) > 1:
            lengths = {item.name: len(getattr(self, item.name)) for item in fields(self)}
            raise ValueError(f"{type(self).__name__}: every field needs the same number of rows, found {lengths}")

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self: _T, rows: Any) -> _T:
        """Rows by slice, mask or index array; an int keeps its row as a length-1 struct."""
        picked = [rows] if isinstance(rows, (int, np.integer)) else rows
        return type(self)(*(getattr(self, item.name)[picked] for item in fields(self)))

    @classmethod
    def empty(cls: type[_T]) -> _T:
        """No faces, with the right shapes."""
        layouts = (item.metadata["layout"] for item in fields(cls))
        return cls(*(np.zeros([size or 0 for size in shape], dtype) for shape, dtype in layouts))


def _rows(*shape: int | None, dtype: Any = np.float32) -> Any:
    return field(metadata={"layout": (shape, dtype)})


@dataclass(frozen=True, eq=False)
class Faces(_Rows):
    """Detected faces, best score first.

    ``boxes`` float32 ``[N, 4]`` x1, y1, x2, y2 in pixels; ``scores`` float32 ``[N]`` in 0…1; ``landmarks`` float32
    ``[N, 5, 2]`` in pixels: the subject's right eye (left in the image), left eye, nose tip, right and left mouth
    corner; NaN where a detector gives none.
    """

    boxes: Floats = _rows(None, 4)
    scores: Floats = _rows(None)
    landmarks: Floats = _rows(None, 5, 2)


@dataclass(frozen=True, eq=False)
class Attributes(_Rows):
    """What the network says of each face.

    ``age`` and ``age_std`` float32 ``[N]`` years (calibrated expectation and spread of the age distribution);
    ``gender`` float32 ``[N, 2]`` and ``race`` float32 ``[N, 5]`` probabilities in the spec's label order. NaN is what a
    network without the head says.
    """

    age: Floats = _rows(None)
    age_std: Floats = _rows(None)
    gender: Floats = _rows(None, 2)
    race: Floats = _rows(None, 5)

    @classmethod
    def unknown(cls, count: int) -> Attributes:
        """Nothing is known of ``count`` faces: NaN everywhere."""
        return cls(*(np.full((count, *item.metadata["layout"][0][1:]), np.nan) for item in fields(cls)))


@dataclass(frozen=True, eq=False)
class Tracks(_Rows):
    """Track numbers of the faces of one frame: int64 ``[N]``, -1 where a face is not tracked (yet)."""

    ids: NDArray[np.int64] = _rows(None, dtype=np.int64)


HEADS = ("age", "gender", "race")
"""What edgeface says of a face, in the order of ``Fused.abstained``'s columns."""


@dataclass(frozen=True, eq=False)
class Fused(Attributes):
    """What all looks at each face so far say together.

    ``age`` and ``age_std`` mean and spread of its posterior; ``gender`` and ``race`` posterior probabilities.
    ``gender_label`` and ``race_label`` int64 ``[N]`` index the class that is held on to (-1: none yet), which a briefly
    likelier one does not replace. ``abstained`` bool ``[N, 3]``: which of ``HEADS`` are too unsure to rely on.
    """

    gender_label: NDArray[np.int64] = _rows(None, dtype=np.int64)
    race_label: NDArray[np.int64] = _rows(None, dtype=np.int64)
    abstained: NDArray[np.bool_] = _rows(None, 3, dtype=np.bool_)
