"""Addresses of cameras and servers: names without their secrets, faults in one sentence, secrets from elsewhere.

``public_name`` is the only function that makes a name for logs, results, labels, topics and messages of an address.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

from edgeface.errors import ConfigError

HIDDEN = "…"
"""Stands for what an address holds beyond its public name."""
ENCODE = "in a user name or password percent-encode / # ? [ ] @ (%2F %23 %3F %5B %5D %40), or write ${NAME} for it"

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):", re.IGNORECASE)  # two letters or more: C:\ is a place on a disk
_LOCAL = ("v4l2", "csi", "synthetic", "display")
_NETWORK = (
    *("http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp", "mqtt", "mqtts", "webhook"),
    *("ftp", "ftps", "mms", "rtspu", "ws", "wss"),
)
_PORT = r"(?P<port>:\d{1,5})?"
_HOST = re.compile(rf"(?P<host>[\w-]{{1,63}}(?:\.[\w-]{{1,63}})*\.?|\[[0-9a-fA-F:.]+(?:%\w+)?\])?{_PORT}")
_CHANNEL_WORD = (
    r"(?:live|streams?|streaming|channels?|ch|cam|cameras?|main|minor|sub|video|media|profile|unicast|multicast|av|h264"
    r"|h265|mjpe?g|mpeg4|onvif\d?|axis-media|cam|img|cgi-bin|index|demo|test)[_-]?\d{0,4}(?:\.(?:sdp|mjpe?g|m3u8|cgi|amp))?"
)
_CHANNEL_PATH = re.compile(rf"{_CHANNEL_WORD}|\d{{1,4}}", re.IGNORECASE)
_CHANNEL = re.compile(r"(?:^|[/?&_;,])((?:channel|ch|stream|subtype|camera|cam)=\d{1,4})(?=[&_;,./]|$)", re.IGNORECASE)
_OPTION = re.compile(r"(?:size=\d{1,5}x\d{1,5}|(?:fps|faces|seed|frames|live|flip)=[\d.]{1,10})")
_PLAIN_KEY = re.compile(r"[a-z_]{1,20}")
_PLAIN_NUMBER = re.compile(r"[-+]?[\d.x]{1,12}|\w{1,5}")
_SECRETIVE = re.compile(r"@|[?&].*=|pass|pwd|token|secret|loginpas|api_?key", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")
_ANY_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]+:/?/?\S+", re.IGNORECASE)
_LARGEST_SECRET = 65_536


def scheme_of(uri: str) -> str:
    """The kind of a URI in lower case, "v4l2" for a bare camera number, "" for a path."""
    match = _SCHEME.match(uri)
    return "v4l2" if uri.isdecimal() else match[1].lower() if match else ""


def public_name(uri: str) -> str:
    """``uri`` as it may be shown: scheme, host, port and channel, of what else it holds nothing.

    Where it cannot be told what is the host (an unescaped ``@`` behind it, no ``//``), only the scheme is left. A path
    on the disk is its own name, unless there is no such file and it looks like an address that lacks its scheme.
    """
    uri = _PLACEHOLDER.sub("x", uri)
    scheme, rest = scheme_of(uri), uri.partition(":")[2]
    if uri.isdecimal():
        return uri
    if not scheme and uri.startswith("//") and not _exists(uri):
        return f"//{_network_part(uri[2:])}"
    if not scheme:
        return HIDDEN if _SECRETIVE.search(uri) and not _exists(uri) else uri
    if scheme == "file":
        return uri if rest.startswith("/") and not _SECRETIVE.search(rest) and "?" not in rest else f"file:{HIDDEN}"
    if _exists(uri):
        return uri
    if scheme in _LOCAL:
        return f"{scheme}:{_local_part(rest)}"
    if scheme == "gst":
        return f"gst:{_pipeline(rest)}"
    if scheme == "webhook":
        return f"webhook:{public_name(rest)}" if scheme_of(rest) in ("http", "https") else f"webhook:{HIDDEN}"
    if not rest.startswith("//"):
        return f"{scheme}:{HIDDEN}" if scheme in _NETWORK else HIDDEN
    return f"{scheme}://{_network_part(rest[2:])}"


def is_address(uri: str) -> bool:
    """Whether ``uri`` is an address or a device, which is never a file to be written."""
    return "://" in uri or (scheme_of(uri) in (*_LOCAL, *_NETWORK, "gst") and not _exists(uri))


def _exists(path: str) -> bool:
    try:
        return "://" not in path and Path(path).exists()
    except (OSError, ValueError):
        return False


def _network_part(rest: str) -> str:
    """Host, port and channel of what follows ``//``."""
    authority, tail = _authority(rest)
    host = authority.rpartition("@")[2]
    if "@" in tail or not host or not _is_host(host):
        return HIDDEN
    path = re.split(r"[?#]", tail, maxsplit=1)[0]
    shown = ""
    for segment in path.split("/")[1:]:
        if not _CHANNEL_PATH.fullmatch(segment):
            break
        shown += f"/{segment}"
    left = tail[len(shown) :]
    channels = ",".join(_CHANNEL.findall(left))
    return host + shown + ("" if left in ("", "/") else f"/{HIDDEN}") + (f"?{channels}" if channels else "")


def _authority(rest: str) -> tuple[str, str]:
    """User, password, host and port as a parser takes them, and what follows."""
    end = re.search(r"[/?#\\]", rest)
    return (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])


def _local_part(rest: str) -> str:
    """Device and known options of a local camera."""
    place, _, query = rest.partition("?")
    place = place if re.fullmatch(r"(?:/dev/[\w/.:-]+|\d{0,3})", place) else HIDDEN
    options = query.split("&") if query else []
    shown = [option for option in options if _OPTION.fullmatch(option)]
    shown += [HIDDEN] if len(shown) < len(options) else []
    return place + ("?" + "&".join(shown) if shown else "")


def _pipeline(text: str) -> str:
    """A GStreamer pipeline's first element, and which of this machine's cameras it reads."""
    first, _, rest = text.strip().partition(" ")
    if not re.fullmatch(r"[a-z][a-z0-9]{1,30}", first):
        return HIDDEN if text.strip() else ""
    own = re.match(r"\s*((?:sensor-id=\d{1,2}|device=/dev/video\d{1,3}))(?=\s|$)", rest)
    return first + (f" {own[1]}" if own else "") + (f" {HIDDEN}" if rest.strip() else "")


def scrubbed(text: object, uri: str) -> str:
    """A message of another program about ``uri``, without it, its parts and any other address."""
    told = str(text)
    for part in sorted({uri, *re.split(r"[\s!]+", uri)}, key=len, reverse=True):
        value = part.partition("=")[2].strip("'\"")
        told = told.replace(part, HIDDEN) if re.search(r"[=@/:]", part) else told
        told = told.replace(value, HIDDEN) if len(value) > 1 else told
    return _ANY_ADDRESS.sub(lambda found: public_name(found[0]), told)


def fault_of(uri: str) -> str | None:
    """What is wrong with a network address, in a clause that shows no secret; ``None`` where it can be read."""
    name = public_name(uri)
    if re.search(r"[\x00-\x20\x7f]", uri):
        return f"`{name}` holds a blank or a control character; percent-encode it"
    if not uri.partition(":")[2].startswith("//"):
        return f"`{name}` is no address, expected {scheme_of(uri) or 'rtsp'}://HOST"
    authority, tail = _authority(uri.partition("://")[2])
    userinfo, at, host = authority.rpartition("@")
    if "[" in userinfo or "]" in userinfo:
        return f"`{name}` cannot be read: {ENCODE}"
    if not _is_host(host):
        what = ENCODE if at or "@" in tail or ":" in host else "expected HOST or HOST:PORT behind //"
        return f"`{name}` cannot be read: {what}"
    return None


def _is_host(text: str) -> bool:
    """Whether ``HOST``, ``HOST:PORT`` or ``:PORT`` can be looked up."""
    found = _HOST.fullmatch(text)
    if found is None or unicodedata.normalize("NFKC", text) != text or int((found["port"] or ":0")[1:]) > 65_535:
        return False
    try:
        (found["host"] or "").encode("idna")
    except UnicodeError:
        return False
    return True


def address_parts(uri: str) -> SplitResult:
    """A network address in parts. Raises ``ConfigError`` with ``fault_of``'s sentence where it cannot be read."""
    fault = fault_of(uri)
    if fault is None:
        try:
            return urlsplit(uri)
        except ValueError:
            fault = f"`{public_name(uri)}` cannot be read: {ENCODE}"
    raise ConfigError(fault)


def with_secrets(uri: str) -> str:
    """``uri`` with each ``${NAME}`` replaced by that environment variable and ``${file:PATH}`` by that file's text.

    In the user and password of a network address the text is percent-encoded. Raises ``ConfigError`` for one that is
    not set, empty or cannot be read.
    """
    name = public_name(uri)
    covered = _PLACEHOLDER.sub(lambda found: "x" * len(found[0]), uri)
    start = covered.find("://") + 3
    authority, tail = _authority(covered[start:]) if start > 2 else ("", covered)
    ends = start + authority.rfind("@")  # of user and password
    inside = "@" in authority and "@" not in tail

    def told(found: re.Match[str]) -> str:
        text = _secret(found[1], name)
        return quote(text, safe="") if inside and start <= found.start() < ends else text

    return _PLACEHOLDER.sub(told, uri)


def _secret(source: str, name: str) -> str:
    kind, _, path = source.partition(":")
    if kind != "file":
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", source):
            raise ConfigError(f"`{name}`: expected ${{NAME}} of an environment variable or ${{file:PATH}}")
        text, what = os.environ.get(source, ""), f"the environment variable `{source}`"
    else:
        what = f"the file `{path}`"
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read(_LARGEST_SECRET).rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise ConfigError(f"`{name}` names {what}, which cannot be read: {reason}") from None
    if not text:
        raise ConfigError(f"`{name}` names {what}, which is not set or empty")
    return text


def secret_of(variable: str) -> str | None:
    """The environment variable's text as a header's value. Raises ``ConfigError`` for one that no header can hold."""
    text = os.environ.get(variable, "").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", text):
        raise ConfigError(f"`${variable}` holds a blank, a line break or a character beyond ASCII; expected one token")
    return text or None


def option_shown(key: str) -> str:
    """An option's name in a message: itself where it looks like one, since a stray secret may stand in its place."""
    return f"`{key}`" if _PLAIN_KEY.fullmatch(key) else "of that name"


def value_shown(value: object) -> str:
    """An option's value in a message, where it is short and plain."""
    return f"`{value}`" if _PLAIN_NUMBER.fullmatch(str(value)) else "something else"


def split_name(uri: str) -> tuple[str, str | None]:
    """A source's URI and the name that ``#name=`` at its end gives it. Raises ``ConfigError`` for an unfit name."""
    address, mark, name = uri.rpartition("#name=")
    if not mark or _exists(uri):
        return uri, None
    return address, checked_name(name)


def checked_name(name: str) -> str:
    """A name for a source. Raises ``ConfigError`` where it is empty, long, holds ``@`` or what cannot be printed."""
    if not 0 < len(name) <= 64 or not name.isprintable() or "@" in name or name != name.strip():
        raise ConfigError("a source's name: expected 1 to 64 printable characters without @, as in rtsp://…#name=door")
    return name


def told_apart(names: Iterable[str]) -> list[str]:
    """The names, those that are the same numbered from 1, so that no two are the same."""
    given = list(names)
    taken, made, counts = set(given), [], dict.fromkeys(given, 0)
    for name in given:
        unique = name
        while given.count(name) > 1 and unique in taken:
            counts[name] += 1
            unique = f"{name}#{counts[name]}"
        taken.add(unique)
        made.append(unique)
    return made
