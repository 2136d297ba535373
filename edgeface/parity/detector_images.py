"""Images from wherever they are: image files, folders, zips and videos, one after the other."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeface.common.archives import ArchiveFault, open_archive, read_entry
from edgeface.errors import DataError, ImageError
from edgeface.imaging.image_io import SUFFIXES, decode_image, max_bytes
from edgeface.sources.open import open_source
from edgeface.types import Image


class Pictures:
    """All images of ``places``, or ``limit`` of them, spread evenly; uint8 ``[H, W, 3]`` RGB each.

    ``count`` says how many will come at most. What cannot be read is left out and named in ``unreadable``, which fills
    up on the way. Raises ``DataError`` for a zip without images or a broken one, and what ``open_source`` raises.
    """

    def __init__(self, places: Sequence[str | os.PathLike[str]], limit: int | None = None) -> None:
        self._places = [Path(place) for place in places]
        counts = [_count(place) for place in self._places]
        total = sum(counts)
        self.count = total if limit is None else min(limit, total)
        self._keep = {row * total // self.count for row in range(self.count)} if self.count else set()
        self._starts = [sum(counts[:number]) for number in range(len(counts))]
        self.unreadable: list[str] = []

    def __iter__(self) -> Iterator[Image]:
        self.unreadable.clear()
        for start, place in zip(self._starts, self._places):
            pictures = self._zipped(place, start) if _is_zip(place) else self._opened(place, start)
            yield from pictures

    def _zipped(self, place: Path, start: int) -> Iterator[Image]:
        with open_archive(place) as archive:
            for row, name in enumerate(_names(archive), start):
                if row in self._keep:
                    try:
                        yield decode_image(read_entry(archive, name, max_bytes()), name)
                    except ArchiveFault as error:
                        self.unreadable.append(f"cannot read image `{name}`: {error}")
                    except ImageError as error:
                        self.unreadable.append(str(error))

    def _opened(self, place: Path, start: int) -> Iterator[Image]:
        with open_source(place) as source:
            for frame in source:
                if start + frame.index in self._keep:
                    yield frame.pixels
            self.unreadable += map(str, source.problems)


def _count(place: Path) -> int:
    if not _is_zip(place):
        with open_source(place) as source:
            return source.frame_count or sum(1 for _ in source)
    try:
        with open_archive(place) as archive:
            count = len(_names(archive))
    except ArchiveFault as error:
        raise DataError(f"cannot read `{place}`: expected a zip of images ({error})") from error
    if not count:
        raise DataError(f"no image in `{place}`: expected files ending in {', '.join(SUFFIXES)}")
    return count


def _is_zip(place: Path) -> bool:
    return place.suffix.lower() == ".zip"


def _names(archive: zipfile.ZipFile) -> list[str]:
    """The images in a zip, sorted, without hidden ones."""
    names = (name for name in archive.namelist() if name.lower().endswith(SUFFIXES) and "/." not in f"/{name}")
    return sorted(names)
