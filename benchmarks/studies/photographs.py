"""Real images for measurements, unpacked from zips and folders into one folder."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.script import DATA
from edgeface.errors import ConfigError
from edgeface.imaging.image_io import SUFFIXES

PICTURES = (DATA / "scenes.zip", DATA / "utkface", DATA / "fairface")
"""What is measured unless other data are named: photographs of everything, and of faces, cut out."""
SEED = 0


def unpack(data: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Write ``count`` images of ``data`` (zips, or folders of zips or images) into ``folder``; their paths.

    Every one of ``data`` gives the same number, as far as it has so many, as do the zips of a folder. All are mixed
    evenly: names begin with a shuffled number (seed 0). Files are copied as they are. Raises ``ConfigError`` where
    there are too few.
    """
    named = [{place: _names(place) for place in _places(path)} for path in data]
    shares = even_shares([sum(map(len, names.values())) for names in named], count)
    numbers = iter(np.random.default_rng(SEED).permutation(count).tolist())
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for names, share in zip(named, shares):
        for place, part in zip(names, even_shares([len(listed) for listed in names.values()], share)):
            for name, content in _read(place, names[place][:part]):
                written.append(folder / f"{next(numbers):05d}_{name.rsplit('/', 1)[-1]}")
                written[-1].write_bytes(content)
    return sorted(written)


def even_shares(available: Sequence[int], count: int) -> list[int]:
    """How many to take from each place: alike, but no more than it has. Raises ``ConfigError`` where all have fewer."""
    if sum(available) < count:
        raise ConfigError(
            f"{count} images are needed, the data hold {sum(available)}: ask for fewer with --pictures, or name more "
            "zips and folders of images with --data"
        )
    shares = [0] * len(available)
    by_size = sorted(range(len(available)), key=available.__getitem__)
    for rank, place in enumerate(by_size):
        shares[place] = min(available[place], (count - sum(shares)) // (len(by_size) - rank))
    return shares


def link(files: Sequence[Path], folder: Path) -> Path:
    """A folder that shows only ``files``, without copying them."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        os.link(file, folder / file.name)
    return folder


def _places(path: Path) -> list[Path]:
    """A zip, or the zips below a folder, or the folder itself."""
    if not path.exists():
        raise ConfigError(f"no images at `{path}`: name zips or folders of images with --data")
    return sorted(path.rglob("*.zip")) or [path] if path.is_dir() else [path]


def _names(place: Path) -> list[str]:
    if place.is_dir():
        names = [entry.name for entry in place.iterdir()]
    else:
        try:
            with zipfile.ZipFile(place) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile as error:
            raise ConfigError(f"`{place}` is no zip of images ({error})") from error
    return sorted(name for name in names if name.lower().endswith(SUFFIXES))


def _read(place: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        for name in names:
            yield name, (place / name).read_bytes()
        return
    with zipfile.ZipFile(place) as archive:
        for name in names:
            yield name, archive.read(name)
