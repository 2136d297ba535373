"""Training crops: every image is decoded and detected once, its aligned crop kept in a cache on disk.

A cache entry belongs to one folder or zip. Its name holds a hash of everything the crops depend on (the data, the
detector's bytes, alignment and size), so a change of any of them cuts again. Crops are memory-mapped: a run starts at
once, several processes share the pages, and a data set may be larger than memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.common.files import atomic_path, sha256_file
from edgeface.errors import ImageError
from edgeface.evaluation.datasets import FaceSet
from edgeface.evaluation.precropped import Detector, chip_crop
from edgeface.imaging.image_io import decode_image
from edgeface.spec.model import AlignmentSpec

_CHUNK = 256
_FORMAT = 1
"""Part of the key; raised whenever this file cuts or stores differently."""

Progress = Callable[[int], None]
"""Called with the number of images done since the last call."""


@dataclass(frozen=True)
class Cut:
    """How crops are cut. ``detector_sha256`` identifies the detector that ``detector`` opens (only if needed)."""

    detector: Callable[[], Detector]
    detector_sha256: str
    alignment: AlignmentSpec
    size: int


@dataclass(frozen=True)
class Crops:
    """Crops of one set, one row per face of the set: ``pixels`` uint8 ``[N, S, S, 3]`` RGB, a memory map.

    ``found`` bool ``[N]``: the detector found the face (else: centre square); ``readable`` bool ``[N]``: the image
    could be decoded (else: zeros). ``path``: the file of ``pixels``.
    """

    pixels: NDArray[np.uint8]
    found: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    path: Path


class Stack:
    """Several arrays uint8 ``[N, …]`` seen as one along the first axis, without copying them together.

    Index it with a row number, a slice or an array of row numbers; what comes back is an array in memory.
    """

    def __init__(self, parts: Sequence[NDArray[np.uint8]], rows: Sequence[NDArray[np.int64]]):
        """``rows``: which of each part's rows count, in order."""
        self.parts = parts
        self._part = np.repeat(np.arange(len(parts)), [len(chosen) for chosen in rows])
        self._row = np.concatenate([np.empty(0, np.int64), *rows])
        self.shape = (len(self._row), *(parts[0].shape[1:] if parts else (0, 0, 3)))
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._row)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape))

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        chosen = np.arange(len(self))[index]
        rows = np.atleast_1d(chosen)
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        part = self._part[rows]
        for number in np.unique(part):
            here = np.flatnonzero(part == number)
            out[here] = self.parts[number][self._row[rows[here]]]
        return out if np.ndim(chosen) else out[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or np.uint8, copy=False)


def cached_crops(faces: FaceSet, cut: Cut, cache: Path, threads: int, progress: Progress = lambda _: None) -> Crops:
    """Crops of every face of a set, from the cache or cut now and kept there."""
    entry = cache / f"{faces.path.stem}-{cache_key(faces, cut)[:16]}"
    pixels, flags = entry.with_suffix(".npy"), entry.with_suffix(".flags.npy")
    if flags.is_file() and pixels.is_file():
        progress(len(faces.faces))
    else:  # the flags come last: an entry with flags is whole
        shape = (len(faces.faces), cut.size, cut.size, 3)
        with atomic_path(pixels) as temporary:
            crops = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            found_and_readable = _cut_all(faces, cut, crops, threads, progress)
            crops.flush()
        with atomic_path(flags) as temporary:
            np.save(temporary, found_and_readable)
    found, readable = np.load(flags, allow_pickle=False)
    return Crops(_mapped(pixels), found, readable, pixels)


def cached_masks(crops: Crops, mask_of: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], name: str, threads: int,
                 progress: Progress = lambda _: None) -> NDArray[np.uint8]:  # fmt: skip
    """``mask_of`` every crop, uint8 ``[N, S, S]`` as a memory map, kept beside the crops under ``name``."""
    path = crops.path.with_suffix(f".{name}.npy")
    if path.is_file():
        progress(len(crops.pixels))
        return _mapped(path)
    with atomic_path(path) as temporary, ThreadPoolExecutor(threads) as pool:
        masks = np.lib.format.open_memmap(temporary, "w+", np.uint8, crops.pixels.shape[:3])
        for row, mask in enumerate(pool.map(mask_of, crops.pixels)):
            masks[row] = mask
            progress(1)
        masks.flush()
    return _mapped(path)


def cache_key(faces: FaceSet, cut: Cut) -> str:
    """Hex sha256 of everything that the crops of ``faces`` depend on."""
    recipe = {
        "format": _FORMAT,
        "detector": cut.detector_sha256,
        "alignment": asdict(cut.alignment),
        "size": cut.size,
        "data": _data_key(faces.path, [face.name for face in faces.faces]),
        "names": [face.name for face in faces.faces],
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _data_key(path: Path, names: Sequence[str]) -> str | list[list[int]]:
    """A zip's sha256; of a folder, size and modification time of each file."""
    if not path.is_dir():
        return sha256_file(path)
    states = [os.stat(path / name) for name in names]
    return [[state.st_size, state.st_mtime_ns] for state in states]


def _mapped(path: Path) -> NDArray[np.uint8]:
    """An array's file as a memory map (numpy maps no file of zero rows)."""
    whole = np.load(path, mmap_mode="r", allow_pickle=False) if path.stat().st_size > 128 else np.load(path)
    return np.asarray(whole) if not len(whole) else whole


def _cut_all(faces: FaceSet, cut: Cut, crops: NDArray[np.uint8], threads: int, progress: Progress) -> NDArray[np.bool_]:
    """Fill ``crops``; returns ``found`` and ``readable`` of each row, bool ``[2, N]``."""
    flags = np.zeros((2, len(crops)), bool)
    detector = cut.detector()

    def one(item: tuple[int, bytes]) -> None:
        row, raw = item
        try:
            image = decode_image(raw, faces.faces[row].name)
        except ImageError:
            return
        crops[row], flags[0, row] = chip_crop(detector, image, cut.alignment, cut.size)
        flags[1, row] = True

    pictures = enumerate(faces.read(face.name for face in faces.faces))
    with ThreadPoolExecutor(threads) as pool:  # decoding, detecting and warping all run outside Python's lock
        while chunk := list(islice(pictures, _CHUNK)):
            list(pool.map(one, chunk))
            progress(len(chunk))
    return flags
