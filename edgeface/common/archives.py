"""Zips from anywhere: whatever is wrong with one, or with an entry of it, is one kind of error with a reason.

``zipfile`` raises eight kinds of errors for damaged, encrypted and unknown entries, and believes what a header states
of an entry's size.
"""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

_FAULTS = (
    *(OSError, RuntimeError, ValueError, KeyError, EOFError, MemoryError, OverflowError, struct.error),
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError),
)
_ENCRYPTED = 0x1


class ArchiveFault(Exception):
    """Why a zip or an entry cannot be read. ``missing``: there is no such file."""

    def __init__(self, reason: object, missing: bool = False) -> None:
        super().__init__(str(reason) or type(reason).__name__)
        self.missing = missing


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """An open zip. Raises ``ArchiveFault`` where it cannot be opened."""
    from edgeface.common.files import open_regular

    try:
        file = open_regular(path)
    except OSError as error:
        raise ArchiveFault(error.strerror or error, isinstance(error, FileNotFoundError)) from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except _FAULTS as error:
            raise ArchiveFault(error) from error
        with archive:
            yield archive


def read_entry(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """An entry's bytes, ``most`` at most, whatever its header states. Raises ``ArchiveFault``."""
    try:
        info = archive.getinfo(name)
        if info.flag_bits & _ENCRYPTED:
            raise ArchiveFault("it is encrypted, unpack the zip with its password first")
        with archive.open(info) as file:
            data = b"" if info.file_size > most else file.read(most + 1)
    except _FAULTS as error:
        raise ArchiveFault(error) from error
    if max(len(data), info.file_size) > most:
        raise ArchiveFault(f"it unpacks to more than {most / 1e6:.0f} MB")
    return data
