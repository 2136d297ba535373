"""Signatures of passports with a key of the user's: who built an engine, which a hash alone cannot tell.

``$EDGEFACE_PASSPORT_KEY`` names a file with the key, of 32 bytes or more. While it is set, every passport is written
with ``NAME.passport.json.hmac`` beside it, the hex HMAC-SHA256 (RFC 2104) of its bytes, and none is read without:

    head -c 32 /dev/urandom > key
    openssl dgst -sha256 -mac HMAC -macopt hexkey:$(xxd -p -c 99 key) NAME.passport.json
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from edgeface.common.files import atomic_path
from edgeface.errors import ArtifactError, ConfigError

KEY = "EDGEFACE_PASSPORT_KEY"
_SHORTEST, _LONGEST = 32, 4096
_HEX_DIGITS = 64


def signature_path(passport: str | os.PathLike[str]) -> Path:
    """Where a passport's signature lies."""
    return Path(f"{os.fspath(passport)}.hmac")


def sign(passport: str | os.PathLike[str]) -> None:
    """Write the passport's signature beside it; without a key, remove one of before.

    Raises ``ConfigError`` for a key that cannot be used, ``SinkError`` where the signature cannot be written.
    """
    where, key = signature_path(passport), _key()
    if key is None:
        where.unlink(missing_ok=True)
        return
    with atomic_path(where) as temporary:
        temporary.write_text(_signature(key, Path(passport).read_bytes()) + "\n", encoding="ascii")


def check_signature(passport: str | os.PathLike[str], text: bytes) -> None:
    """Check the bytes ``text`` of a passport against its signature, where there is a key.

    Raises ``ArtifactError`` for a signature that is missing or another, ``ConfigError`` for a key that cannot be used.
    """
    key = _key()
    if key is None:
        return
    where = signature_path(passport)
    again = "build the engine again with the key, or unset the variable to do without"
    try:
        found = where.read_bytes()[: 2 * _HEX_DIGITS].strip()
    except OSError as error:
        what = f"passport `{passport}` has no signature `{where.name}`: {error.strerror or error}"
        raise ArtifactError(f"${KEY} is set, but {what}; {again}") from error
    if not hmac.compare_digest(found, _signature(key, text).encode()):
        raise ArtifactError(f"the signature of passport `{passport}` is not of the key in ${KEY}; {again}")


def _signature(key: bytes, text: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def _key() -> bytes | None:
    """The key, ``None`` where the variable is not set."""
    path = os.environ.get(KEY)
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            key = file.read(_LONGEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the key `{path}` that ${KEY} names: {error.strerror or error}") from error
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ConfigError(f"the key `{path}` that ${KEY} names: expected {_SHORTEST} to {_LONGEST} bytes")
    return key
