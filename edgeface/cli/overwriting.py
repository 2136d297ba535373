"""No output replaces an input: one guard for every verb and every option that names a file or a folder to write."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgeface.errors import ConfigError, ImageError

Place = str | os.PathLike[str]

_KINDS = {
    "an archive": (".7z", ".bz2", ".gz", ".tar", ".tgz", ".xz", ".zip", ".zst"),
    "a model": (".engine", ".onnx", ".pt", ".pt2", ".pth", ".safetensors", ".trt"),
}
"""Suffixes of files that no table or report is written to, beside images and videos."""


def refuse_overwriting_input(
    inputs: Place | Iterable[Place | None],
    output: Place | None,
    *,
    suffixes: Sequence[str] = (),
    folder: bool | None = False,
) -> None:
    """Raise ``ConfigError`` where writing ``output`` would replace one of ``inputs``, or an image in one.

    ``inputs`` are paths, ``file:`` URIs and globs; what is no place on a disk is passed over. Links, relative paths
    and hard links are followed. ``suffixes`` are the endings of what is written: an output with the suffix of an
    image, a video, an archive or a model that is none of them is refused, since it is most likely an input after an
    option whose value was forgotten. Into a ``folder`` go images under the names of their sources, so that it must
    not be one that holds them (``None``: an output that ends in ``/`` or is a directory).
    """
    from edgeface.sources.source_uri import local_path

    target = None if output is None or os.fspath(output) == "-" else local_path(output)
    if output is None or target is None:
        return
    if folder is None:
        folder = os.fspath(output).endswith(("/", os.sep)) or os.path.isdir(target)
    if not folder:
        _check_suffix(output, target, suffixes)
    listed = [inputs] if isinstance(inputs, (str, os.PathLike)) else inputs
    for given in listed:
        for path in () if given is None else _files(given):
            if _same(path, target) or (folder and _taken(path, target)):
                raise ConfigError(f"writing `{output}` would overwrite the input `{path}`, name another place")


def refuse_sharing(outputs: Iterable[Place], live: int) -> None:
    """Raise ``ConfigError`` where two ``outputs`` are one file, or one video would hold ``live`` cameras, 2 or more."""
    from edgeface.sinks.open import VIDEO_SUFFIXES as VIDEOS
    from edgeface.sources.source_uri import local_path

    seen: dict[str, Place] = {}
    for output in outputs:
        place = None if os.fspath(output) == "-" else local_path(output)
        if place is None:
            continue
        real = os.path.realpath(place)
        if real in seen:
            raise ConfigError(f"`{seen[real]}` and `{output}` are one file, name one of them")
        seen[real] = output
        if live > 1 and place.suffix.lower() in VIDEOS:
            raise ConfigError(
                f"`{output}` cannot hold {live} cameras at once: run each by itself, or write results to a .jsonl file"
            )


def _check_suffix(output: Place, target: Path, suffixes: Sequence[str]) -> None:
    from edgeface.imaging.image_io import SUFFIXES
    from edgeface.sources.base import VIDEO_SUFFIXES

    suffix = target.suffix.lower()
    kinds = {"an image": (*SUFFIXES, ".heic", ".gif"), "a video": VIDEO_SUFFIXES, **_KINDS}
    for kind, known in kinds.items():
        if suffixes and suffix in known and suffix not in suffixes:
            raise ConfigError(
                f"cannot write `{output}`: `{suffix}` is the ending of {kind}, expected a name ending in "
                f"{' or '.join(suffixes)}; does the option lack its value?"
            )


def _files(given: Place) -> Iterator[Path]:
    """The places that an input names: itself, or what its glob matches."""
    import glob

    from edgeface.sources.source_uri import local_path

    path = local_path(given)
    if path is None:
        return
    if not os.path.exists(path) and glob.has_magic(str(path)):
        yield from map(Path, glob.iglob(str(path), recursive=True))
    else:
        yield path


def _same(path: Path, target: Path) -> bool:
    try:
        return os.path.samefile(path, target)
    except (OSError, ValueError):  # one of them does not exist
        return os.path.realpath(path) == os.path.realpath(target)


def _taken(path: Path, folder: Path) -> bool:
    """Whether an image of ``path`` lies in ``folder``, or writing under its name there would replace an image.

    A folder above the images that has images of the same names holds other photographs, not an earlier run's results.
    """
    from edgeface.imaging.image_io import SUFFIXES, list_images

    if path.suffix.lower() not in SUFFIXES and not os.path.isdir(path):
        return False
    try:
        images = list_images(path)
    except ImageError:
        images = [path]
    where = os.path.realpath(folder)
    for image in images:
        parent = os.path.realpath(image.parent)
        if where in (parent, os.path.dirname(os.path.realpath(image))):
            return True
        own = folder / image.name
        above = os.path.commonpath([where, parent]) == where
        if os.path.exists(own) and (above or _same(own, image)):
            return True
    return False
