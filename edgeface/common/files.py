"""Model files on disk: hashes, atomic writing, and the specs inside an ONNX file or an engine's passport.

ONNX files are read without the onnx package.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgeface.errors import SinkError

ENGINE_SUFFIX = ".engine"
_STEM_KEPT = 40


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it there on success; on any error nothing is left behind.

    The temporary file keeps the suffix, since writers choose formats by it. A device or pipe is written to, never
    replaced. ``OSError`` (no such folder, not writable, disk full) becomes ``SinkError``.
    """
    target = Path(path)
    special = _is_special(target)
    try:
        if not special:
            target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{target.stem[:_STEM_KEPT]}-"  # what is added must not make a name too long that is not
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=None if special else target.parent)
        os.close(handle)
    except (OSError, ValueError) as error:
        raise SinkError(f"cannot write `{target}`: {getattr(error, 'strerror', None) or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        if special:
            with temporary.open("rb") as done, target.open("wb") as out:
                shutil.copyfileobj(done, out)
        else:
            temporary.chmod(0o644)
            os.replace(temporary, target)
    except SinkError:
        raise
    except OSError as error:
        raise SinkError(f"cannot write `{target}`: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading; raises ``OSError`` for a pipe or a device, which may never end or never begin."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        kind = "pipe" if stat.S_ISFIFO(mode) else "device"
        raise OSError(errno.EINVAL, f"it is a {kind}, expected a file", os.fspath(path))
    return os.fdopen(handle, "rb")


def _is_special(path: Path) -> bool:
    """Whether ``path`` is a device, a pipe or a name of one such as ``/dev/stdout``, whatever lies behind it."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or path.absolute().parts[:2] == ("/", "dev")


def cache_dir() -> Path:
    """Where results that can be computed again are kept: ``$EDGEFACE_CACHE``, else ``edgeface`` in the user's cache."""
    own = os.environ.get("EDGEFACE_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edgeface"
