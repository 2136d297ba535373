"""Training crops: every picture is decoded and detected once, its aligned crop kept in a cache on disk.

A cache file belongs to one folder or zip. Its name holds a hash of everything the crops depend on (the data, the
detector's bytes, alignment and size), so a change of any of them cuts anew and an unchanged set loads in seconds.
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

import numpy as np
from numpy.typing import NDArray

from edgeface.artifact import atomic_path, sha256_file
from edgeface.datasets import FaceSet
from edgeface.errors import ImageError
from edgeface.images import decode_image
from edgeface.pipeline.chips import Detector, chip_crop
from edgeface.spec import AlignmentSpec

_CHUNK = 256
_FORMAT = 1
"""Part of the key; raised whenever this file cuts or stores differently."""

Progress = Callable[[int], None]
"""Called with the number of pictures done since the last call."""


@dataclass(frozen=True)
class Cut:
    """How crops are cut. ``detector_sha256`` identifies the detector that ``detector`` opens (only if needed)."""

    detector: Callable[[], Detector]
    detector_sha256: str
    alignment: AlignmentSpec
    size: int


@dataclass(frozen=True)
class Crops:
    """Crops of one set, one row per face of the set: ``pixels`` uint8 ``[N, S, S, 3]`` RGB.

    ``found`` bool ``[N]``: the detector found the face (else: centre square); ``readable`` bool ``[N]``: the picture
    could be decoded (else: zeros).
    """

    pixels: NDArray[np.uint8]
    found: NDArray[np.bool_]
    readable: NDArray[np.bool_]


def cached_crops(faces: FaceSet, cut: Cut, cache: Path, threads: int, progress: Progress = lambda _: None) -> Crops:
    """Crops of every face of a set, from the cache or cut now and kept there."""
    path = cache / f"{faces.path.stem}-{cache_key(faces, cut)[:16]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            progress(len(faces.faces))
            return Crops(stored["pixels"], stored["found"], stored["readable"])
    crops = _cut_all(faces, cut, threads, progress)
    with atomic_path(path) as temporary:
        np.savez(temporary, pixels=crops.pixels, found=crops.found, readable=crops.readable)
    return crops


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


def _cut_all(faces: FaceSet, cut: Cut, threads: int, progress: Progress) -> Crops:
    count, size = len(faces.faces), cut.size
    crops = Crops(np.zeros((count, size, size, 3), np.uint8), np.zeros(count, bool), np.zeros(count, bool))
    detector = cut.detector()

    def one(item: tuple[int, bytes]) -> None:
        row, raw = item
        try:
            image = decode_image(raw, faces.faces[row].name)
        except ImageError:
            return
        crops.pixels[row], crops.found[row] = chip_crop(detector, image, cut.alignment, size)
        crops.readable[row] = True

    pictures = enumerate(faces.read(face.name for face in faces.faces))
    with ThreadPoolExecutor(threads) as pool:  # decoding, detecting and warping all run outside Python's lock
        while chunk := list(islice(pictures, _CHUNK)):
            list(pool.map(one, chunk))
            progress(len(chunk))
    return crops
