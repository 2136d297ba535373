"""The images that training and judging draw from, and how they are split.

- Scenes: ``int(sha1(file name), 16) % 5``: 0 is test, 1 validation, the rest training.
- Clips: whole clips. Most show the same few people, so none is trained on: those in ``VALIDATION_CLIPS`` may steer
  choices, all others are test.
- Face chips: the training folds 3 to 9 of UTKFace and FairFace.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgeface.errors import DataError
from edgeface.types import Image

VALIDATION_CLIPS = ("classroom.mp4", "face-demographics-walking-and-pause.mp4")
TRAINING_FOLDS = range(3, 10)


def decode(data: bytes, reduce: int = 1) -> Image:
    """An encoded image as uint8 ``[H, W, 3]`` RGB, at 1/``reduce`` of its size (1, 2 or 4)."""
    import cv2

    modes = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), modes[reduce])
    if picture is None:
        raise DataError("an image of the data sets cannot be decoded; copy the archive again")
    return np.ascontiguousarray(picture[:, :, ::-1])


class Pictures:
    """Encoded images of zip archives, kept in memory and decoded once, when first asked for."""

    def __init__(self, encoded: list[tuple[str, bytes]]) -> None:
        self.names = [name for name, _ in encoded]
        self._encoded = [data for _, data in encoded]
        self._decoded: dict[int, Image] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Image:
        if index not in self._decoded:
            self._decoded[index] = decode(self._encoded[index])
        return self._decoded[index]


def scene_split(name: str) -> str:
    """``test``, ``validation`` or ``train`` for a scene's file name (without folders)."""
    return {0: "test", 1: "validation"}.get(_hash(name) % 5, "train")


def scenes(shared: str | Path, split: str, limit: int = 0) -> Pictures:
    """The scenes of a split, in the order of their names; ``limit`` > 0 keeps the first few."""
    return _read([Path(shared) / "data" / "scenes.zip"], lambda name: scene_split(name) == split, limit)


def chips(shared: str | Path, limit: int = 0) -> tuple[Pictures, Pictures]:
    """UTKFace and FairFace training chips; ``limit`` > 0 keeps the first few of each."""
    data = Path(shared) / "data"
    utkface = [data / "utkface" / f"utkface-fold{fold}.zip" for fold in TRAINING_FOLDS]
    fairface = sorted((data / "fairface").glob("fairface-*.zip"))
    return _read(utkface, lambda _: True, limit), _read(fairface, _fairface_trains, limit)


def clips(shared: str | Path, split: str) -> list[Path]:
    """The clips of the ``test`` or ``validation`` split, by name."""
    found = sorted((Path(shared) / "media").glob("*.mp4"))
    return [path for path in found if (path.name in VALIDATION_CLIPS) == (split == "validation")]


def frames(path: Path) -> Iterator[Image]:
    """Every frame of a clip, RGB."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        while True:
            found, frame = capture.read()
            if not found:
                return
            yield np.ascontiguousarray(frame[:, :, ::-1])
    finally:
        capture.release()


def _fairface_trains(name: str) -> bool:
    """FairFace's fold rule: its ``file`` as in ``labels.csv`` (``train/1``), without the ending."""
    return _hash("train/" + Path(name).stem) % 10 in TRAINING_FOLDS


def _hash(text: str) -> int:
    return int(hashlib.sha1(text.encode()).hexdigest(), 16)


def _read(archives: list[Path], keep: object, limit: int) -> Pictures:
    encoded: list[tuple[str, bytes]] = []
    for path in archives:
        if limit and len(encoded) >= limit:
            break
        try:
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith((".webp", ".jpg")) and keep(name.rpartition("/")[2]):  # type: ignore[operator]
                        encoded.append((name.rpartition("/")[2], archive.read(name)))
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"cannot read `{path}`: {error}; the detector trains on `shared`'s data sets") from error
    if not encoded:
        raise DataError(f"no images for this split in {', '.join(str(path) for path in archives) or 'no archive'}")
    return Pictures(encoded[:limit] if limit else encoded)
