"""Names of files as text that every output can hold, and that leads back to the file.

A file's name is bytes, most often UTF-8. One that is not (``M\\xfcnchen.jpg``, Latin-1) appears in results as
a ``file:`` URI with percent-encoded bytes, ``file:./M%FCnchen.jpg``, which ``predict`` and ``run`` take for a path. In
sentences, and where a console lacks a letter, the bytes of the letter are percent-encoded where they stand.
"""

from __future__ import annotations

import codecs
import os
from urllib.parse import quote

PERCENT = "edgeface.percent"
"""Error handler of codecs: percent-encodes the bytes of what the encoding cannot hold."""
_PLAIN = {"±": "+-", "…": "...", "–": "-", "−": "-", "×": "x", "·": ".", "“": '"', "”": '"', "≥": ">=", "≤": "<="}
"""Signs in our own sentences that have a form in ASCII."""


def _percent(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter) or _encoded(letter) for letter in text), error.end


def _encoded(letter: str) -> str:
    return "".join(
        f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogateescape" if _escaped(letter) else "replace")
    )


def _escaped(letter: str) -> bool:
    """Whether this stands for a byte that is not UTF-8 (PEP 383)."""
    return 0xDC80 <= ord(letter) <= 0xDCFF


codecs.register_error(PERCENT, _percent)


def shown_name(path: str | os.PathLike[str]) -> str:
    """The name of a file as results hold it: the path, or a ``file:`` URI where its bytes are not UTF-8."""
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "file:" + ("" if "/" in text else "./") + quote(os.fsencode(text))
    return text


def printable(text: str, encoding: str = "utf-8") -> str:
    """``text`` without what ``encoding`` cannot hold."""
    return text.encode(encoding, PERCENT).decode(encoding)
