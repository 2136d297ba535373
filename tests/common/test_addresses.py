"""No secret of an address in any name, message, label, log line or traceback."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.cli.live_options import JsonLines
from edgeface.common.addresses import (
    address_parts,
    fault_of,
    public_name,
    scrubbed,
    split_name,
    told_apart,
    with_secrets,
)
from edgeface.errors import ConfigError, EdgefaceError
from edgeface.sinks.open import open_sink
from edgeface.sources.base import SourceOptions
from edgeface.sources.frame_queue import Counters
from edgeface.sources.network_stream import Stream
from edgeface.sources.open import open_source

SECRET = "hunter2"
FORMS = (
    "{scheme}://user:{secret}@127.0.0.1:9/live/ch1",
    "{scheme}://{secret}@127.0.0.1:9/",
    "{scheme}://127.0.0.1:9/user=admin&password={secret}&channel=1",
    "{scheme}://127.0.0.1:9/user=admin_password={secret}_channel=1_stream=0.sdp",
    "{scheme}://127.0.0.1:9/cam?usr=admin&pwd={secret}",
    "{scheme}://127.0.0.1:9/cam.cgi?loginuse=admin&loginpas={secret}",
    "{scheme}://127.0.0.1:9/?code={secret}",
    "{scheme}://127.0.0.1:9/live/{secret}",
    "{scheme}://127.0.0.1:9/{secret}/stream1?channel=2#{secret}",
    "{scheme}://127.0.0.1:9?{secret}",
    "{scheme}://user:{secret}＠127.0.0.1/live",
    "{scheme}:user:{secret}@127.0.0.1/live",
    "{scheme}:/user:{secret}@127.0.0.1/live",
    "user:{secret}@127.0.0.1/live",
    "//user:{secret}@127.0.0.1/live",
    "//127.0.0.1/?code={secret}",
    "//127.0.0.1/live/{secret}",
    "127.0.0.1/cam?code={secret}",
    "camera/user=admin&key={secret}",
    "gst:rtspsrc location={scheme}://user:{secret}@127.0.0.1 ! decodebin",
    "gst:rtspsrc user-id=admin user-pw={secret} location={scheme}://127.0.0.1",
    "v4l2:/dev/video73?password={secret}",
    "csi:0?key={secret}",
    "synthetic:?seed={secret}",
    "synthetic:?{secret}=1",
    "webhook:https://127.0.0.1:9/services/{secret}",
    "webhook:{scheme}://user:{secret}@127.0.0.1:9/#every={secret}",
    "file://user:{secret}@127.0.0.1/share",
    "display:{secret}",
)
SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "srt", "udp", "mqtt", "mqtts", "webhook", "ftp", "unknown")
FEW = SourceOptions(open_s=0.5, stall_s=0.5)


def refused(open_it: object, uri: str) -> str:
    """All that an attempt tells: its error, or what it opened, and the traceback."""
    try:
        with open_it(uri) as opened:  # type: ignore[operator]
            return f"{opened.name} {opened!r} {opened}"
    except EdgefaceError as error:
        return f"{error} {error!r} " + "".join(traceback.format_exception(error))


def code_free(text: str) -> str:
    """A traceback without the lines of our own source, which may hold the test's words."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder in which a sink that takes an address for a file may write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        yield


junk = st.text(st.sampled_from("/#?[]@:&=;,%\\!$ \t\n'\"ab12.ü＠／：…{}"), max_size=6)


@given(st.sampled_from(FORMS), st.sampled_from(SCHEMES), junk, junk)
@settings(max_examples=700, deadline=None, derandomize=True)
def test_a_planted_secret_is_in_nothing_that_is_told(form: str, scheme: str, before: str, after: str) -> None:
    uri = form.format(scheme=scheme, secret=before + SECRET + after)
    record = logging.LogRecord("edgeface.live", logging.INFO, "", 0, "%s", (public_name(uri),), None)
    record.source = public_name(uri)
    told = [public_name(uri), str(fault_of(uri)), JsonLines().format(record), json.dumps({"source": public_name(uri)})]
    told += [refused(lambda text: open_source(text, FEW), uri)]
    if not uri.startswith(("http://", "mqtt")):  # these would serve or call
        told += [refused(open_sink, uri)] if ":" in uri.partition("/")[0] else []
    assert not [text for text in map(code_free, told) if SECRET in text], uri


@pytest.mark.parametrize("form", [form for form in FORMS if form.startswith("{scheme}://")])
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_connection_that_fails_tells_no_secret(form: str, scheme: str) -> None:
    uri = form.format(scheme=scheme, secret=SECRET)
    with pytest.raises(EdgefaceError) as caught:
        Stream(uri, FEW, Counters())
    assert SECRET not in code_free(f"{caught.value!r}" + "".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize("character", "/#?[")
@pytest.mark.parametrize("uri", ["rtsp://admin:hun{}ter2@camera/live", "mqtt://admin:hun{}ter2@broker/home"])
def test_an_unescaped_character_of_a_password_is_named(uri: str, character: str) -> None:
    opened = open_source if uri.startswith("rtsp") else open_sink
    with pytest.raises(EdgefaceError, match=r"cannot be read: in a user name or password percent-encode / # \? \["):
        opened(uri.format(character))


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("rtsp://me:secret@camera:554/a?x=1", "rtsp://camera:554/…"),
        ("rtsp://me:secret@camera/Streaming/Channels/101", "rtsp://camera/Streaming/Channels/101"),
        ("rtsp://camera/user=admin&password=x&channel=1", "rtsp://camera/…?channel=1"),
        ("rtsp://camera/cam/realmonitor?channel=2&subtype=0", "rtsp://camera/cam/…?channel=2,subtype=0"),
        ("rtsp://me:pa@ss@[::1]:80/live", "rtsp://[::1]:80/live"),
        ("rtsp://me:pa/ss@camera/live", "rtsp://…"),
        ("rtsp://a:b@[bad/cam", "rtsp://…"),
        ("http://:8090", "http://:8090"),
        ("mqtt://user:secret@broker:1884/home/door", "mqtt://broker:1884/…"),
        ("webhook:https://u:p@example.org/hooks/secret?key=1", "webhook:https://example.org/…"),
        ("gst:rtspsrc location=rtsp://u:p@h ! x", "gst:rtspsrc …"),
        ("gst:nvarguscamerasrc sensor-id=1 ! x", "gst:nvarguscamerasrc sensor-id=1 …"),
        ("v4l2:/dev/video0?size=640x480&password=p", "v4l2:/dev/video0?size=640x480&…"),
        ("synthetic:?size=64x48&seed=1", "synthetic:?size=64x48&seed=1"),
        ("admin:hunter2", "…"),
        ("clip.mp4", "clip.mp4"),
        ("0", "0"),
    ],
)
def test_a_name_keeps_scheme_host_and_channel(uri: str, name: str) -> None:
    assert public_name(uri) == name


def test_words_of_another_program_lose_the_address() -> None:
    pipeline = "rtspsrc location=rtsp:user:hunter2@h user-pw='tr0ub4dor' ! decodebin"
    told = "could not set property location to rtsp:user:hunter2@h, tr0ub4dor, rtsp://user:hunter2@h/x: no element"
    assert scrubbed(told, pipeline) == "could not set property location to …, …, rtsp://h/…: no element".replace(
        "rtsp://h/…:", "rtsp://h/…"
    )


def test_secrets_come_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CAM_PASSWORD", "p/@ ß")
    (tmp_path / "key").write_text("from file\n")
    assert (
        with_secrets("rtsp://me:${CAM_PASSWORD}@h/live?k=${CAM_PASSWORD}")
        == "rtsp://me:p%2F%40%20%C3%9F@h/live?k=p/@ ß"
    )
    assert with_secrets(f"http://h/${{file:{tmp_path}/key}}") == "http://h/from file"
    parts = address_parts(with_secrets("rtsp://me:${CAM_PASSWORD}@h/live"))
    assert (parts.hostname, parts.path) == ("h", "/live")
    assert urlsplit(with_secrets(f"rtsp://me:${{file:{tmp_path}/key}}@h/live")).password == "from%20file"
    with pytest.raises(ConfigError, match=r"`rtsp://h/live` names the environment variable `NONE`, which is not set"):
        with_secrets("rtsp://me:${NONE}@h/live")
    with pytest.raises(ConfigError, match=r"names the file `/none`, which cannot be read: No such file"):
        with_secrets("rtsp://me:${file:/none}@h/live")


def test_the_same_names_are_numbered_and_none_collides() -> None:
    assert told_apart(["a", "b", "a"]) == ["a#1", "b", "a#2"]
    made = told_apart(["a", "a", "a#1", "a#2"])
    assert len(set(made)) == 4 and made[2:] == ["a#1", "a#2"]


def test_a_name_stands_at_the_end_of_a_uri() -> None:
    assert split_name("rtsp://h/live#name=Front door") == ("rtsp://h/live", "Front door")
    assert split_name("rtsp://h/live#x") == ("rtsp://h/live#x", None)
    for unfit in ("", "a\x1b[2J", "p@h", "x" * 65, "\u202eabc"):
        with pytest.raises(ConfigError, match="a source's name: expected 1 to 64 printable characters"):
            split_name(f"rtsp://h#name={unfit}")
