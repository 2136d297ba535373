"""Options in URIs, webhooks against a real server that misbehaves, a window that cannot be, RTSP to a real receiver."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import traceback
import tracemalloc
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from edgeface.errors import MissingDependencyError, SinkError
from edgeface.sinks import reconnecting as sink_live
from edgeface.sinks.display import has_windows
from edgeface.sinks.open import open_sink
from edgeface.sinks.queue import BoundedSink
from edgeface.sinks.rtsp_client import Login, RtspPush
from edgeface.sinks.sink_uri import SinkUri
from edgeface.types import Image
from tests.pipeline.clips import moving, result
from tests.pipeline.peers import Receiver, free_port, until
from tests.pipeline.rtsp_receiver import RtspReceiver


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_live, "_FIRST_WAIT_S", 0.02)


def pixels(width: int = 96, height: int = 64) -> Image:
    return np.full((height, width, 3), 90, np.uint8)


def test_options_follow_the_hash() -> None:
    given = SinkUri("x://host/a?b=1#every=2.5&ca=my%20file", {"every": 1.0, "ca": "", "quality": 80})
    assert (given.address, given.number("every", 0, 10), given.number("quality", 1, 100)) == ("x://host/a?b=1", 2.5, 80)
    assert given.text("ca") == "my file"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "webhook:https://host/a#evry=1",
            r"`webhook:https://host/…` has no option `evry`, expected one of: every, timeout",
        ),
        ("webhook:https://host/a#every=x", r"option `every` expects a number from 0 to 86400, found `x`"),
        ("webhook:https://host/a#timeout=0", r"option `timeout` expects a number from 0.1 to 120, found `0`"),
        ("webhook:ftp://host/a", r"is no address, expected webhook:https://HOST/PATH"),
        ("webhook:", r"is no address, expected rtsp://HOST"),
        ("rtsp://host", r"`rtsp://host` is no address to push to, expected rtsp://HOST:8554/NAME"),
        ("mqtt://host", r"`mqtt://host` is no topic to publish to, expected mqtt://HOST/TOPIC"),
        ("mqtt://host/a/+/b", r"is no topic to publish to"),
        ("mqtt://host:port/a", r"`mqtt://…` cannot be read: in a user name or password percent-encode"),
        ("http://host/path", r"is no address to serve at, expected http://:8090 .*; to send .*: webhook:https://HOST"),
        ("display:1", r"`display:1` has nothing to choose, expected `display:`"),
    ],
)
def test_a_wrong_uri_is_one_sentence(uri: str, message: str) -> None:
    with pytest.raises(SinkError, match=message) as caught:
        open_sink(uri)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(has_windows(), reason="this OpenCV has windows")
def test_a_window_says_what_to_install() -> None:
    with pytest.raises(
        MissingDependencyError, match="pip uninstall opencv-python-headless && .*pip install opencv-python"
    ):
        open_sink("display:")


def test_a_webhook_posts_results_over_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_WEBHOOK_TOKEN", "s3cret")
    with Receiver([]) as server, open_sink(f"webhook:{server.url}#every=0") as sink:
        for index in range(5):
            sink.append(result(pixels(), index, index / 25, faces=1))
        assert [body["frame"] for body in server.bodies] == [0, 1, 2, 3, 4]
        path, headers = server.requests[0]
        assert path == "/hook/secret?room=1" and headers["Authorization"] == "Bearer s3cret"
        assert headers["Content-Type"] == "application/json; charset=utf-8"
        assert server.connections == 1 and sink.counters.written == 5
        assert "secret" not in sink.name


def test_a_webhook_thins_results_out() -> None:
    with Receiver([]) as server, open_sink(f"webhook:{server.url}#every=3600") as sink:
        for index in range(5):
            sink.append(result(pixels(), index, index / 25))
        assert [body["frame"] for body in server.bodies] == [0]


@pytest.mark.parametrize("trouble", [500, 503, 429, 408])
def test_trouble_that_passes_is_tried_again(trouble: int) -> None:
    with Receiver([trouble, trouble]) as server, open_sink(f"webhook:{server.url}") as sink:
        sink.append(result(pixels(), 7))
        assert [body["frame"] for body in server.bodies] == [7]
        assert (sink.counters.written, sink.counters.errors, sink.counters.dropped) == (1, 2, 0)


@pytest.mark.parametrize("refusal", [400, 401, 404, 301])
def test_a_refusal_is_not_repeated(refusal: int, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver([refusal]) as server, open_sink(f"webhook:{server.url}#every=0") as sink:
        sink.append(result(pixels(), 0))
        sink.append(result(pixels(), 1))
        assert [body["frame"] for body in server.bodies] == [1]
        assert (sink.counters.written, sink.counters.errors, sink.counters.dropped) == (1, 1, 1)
    assert f"refused a result: {refusal}" in caplog.text and "secret" not in caplog.text


def test_a_server_that_never_answers_well_loses_only_its_result() -> None:
    with Receiver([500] * 3) as server, open_sink(f"webhook:{server.url}#every=0&attempts=3") as sink:
        sink.append(result(pixels(), 0))
        sink.append(result(pixels(), 1))
        assert [body["frame"] for body in server.bodies] == [1]
        assert (sink.counters.written, sink.counters.errors, sink.counters.dropped) == (1, 3, 1)


def test_an_absent_server_holds_up_nobody_and_is_found_when_it_comes() -> None:
    port = free_port()
    inner = open_sink(f"webhook:http://127.0.0.1:{port}/hook#every=0&attempts=1000")
    sink = BoundedSink(inner, depth=4, policy="drop_oldest")
    for index in range(200):
        sink.append(result(pixels(), index))
    assert until(lambda: sink.counters.errors and sink.counters.dropped) >= 190
    with Receiver([], port) as server:
        until(lambda: server.bodies and server.bodies[-1]["frame"] == 199)
        sink.close()
        counters = sink.counters
        assert counters.written == len(server.bodies) and counters.written + counters.dropped == 200
        assert counters.reconnects == 1


def test_closing_does_not_wait_for_an_absent_server() -> None:
    inner = open_sink(f"webhook:http://127.0.0.1:{free_port()}/hook#attempts=1000")
    sink = BoundedSink(inner, policy="drop_oldest", grace_s=0.1)
    sink.append(result(pixels()))
    sink.close()
    assert sink.counters.written == 0 and sink.counters.dropped == 1


def push_until(sink: Any, done: Any, frames: list[Image]) -> None:
    index = 0

    def push() -> Any:
        nonlocal index
        sink.append(result(frames[index % len(frames)], index, index / 25))
        index += 1
        return done()

    until(push)


def test_a_pushed_stream_arrives_at_an_rtsp_server_that_comes_goes_and_comes_again() -> None:
    port = free_port()
    frames = [np.full((63, 97, 3), 200, np.uint8)] * 4
    with BoundedSink(open_sink(f"rtsp://127.0.0.1:{port}/live#timeout=5"), policy="drop_oldest") as sink:
        sink.append(result(frames[0]))
        until(lambda: sink.counters.errors)
        first = RtspReceiver(port, most=5)
        push_until(sink, lambda: len(first.frames) >= 5, frames)
        first.join()
        second = RtspReceiver(port)
        push_until(sink, lambda: len(second.frames) >= 5, frames)
        assert sink.counters.reconnects >= 2
    until(lambda: second.requests[-1].startswith("TEARDOWN"))
    second.close()
    second.join()
    assert [request.split()[0] for request in first.requests] == ["ANNOUNCE", "SETUP", "RECORD"]
    got = first.frames[-1]
    assert got.shape == (64, 98, 3), "odd sides are made even"
    assert abs(int(np.median(got)) - 200) < 8


def test_a_pushed_stream_goes_on_in_another_size() -> None:
    port = free_port()
    server = RtspReceiver(port)
    with BoundedSink(open_sink(f"rtsp://127.0.0.1:{port}/live"), policy="drop_oldest") as sink:
        push_until(sink, lambda: len(server.frames) >= 3, moving(4, 96, 64))
        push_until(sink, lambda: server.frames[-1].shape != (64, 96, 3), moving(4, 160, 96))
    server.close()
    server.join()
    assert {frame.shape for frame in server.frames} == {(64, 96, 3), (96, 160, 3)}


@pytest.mark.parametrize(("password", "arrives"), [("p%40ss", True), ("wrong", False)])
def test_a_pushed_stream_has_a_password(password: str, arrives: bool) -> None:
    server = RtspReceiver(free_port(), password="p@ss")
    with BoundedSink(open_sink(f"rtsp://me:{password}@127.0.0.1:{server.port}/live"), policy="drop_oldest") as sink:
        push_until(sink, lambda: server.frames if arrives else sink.counters.errors, moving(4))
        assert password not in sink.name
    server.close()
    server.join()
    assert bool(server.frames) == arrives


def test_what_does_not_speak_rtsp_is_called_again(caplog: pytest.LogCaptureFixture) -> None:
    with Receiver([]) as server:
        sink = BoundedSink(open_sink(f"rtsp://127.0.0.1:{server.port}/live"), policy="drop_oldest", grace_s=0.1)
        sink.append(result(pixels()))
        until(lambda: sink.counters.errors)
        sink.close()
    assert "cannot push: the server" in caplog.text


_FFMPEG_LISTENS = """
import av, sys
with av.open(sys.argv[1], options={"rtsp_flags": "listen", "listen_timeout": "30"}) as stream:
    for index, frame in enumerate(stream.decode(video=0)):
        if index == 10:
            print(frame.width, frame.height, frame.format.name)
            break
"""


def test_ffmpeg_takes_a_pushed_stream() -> None:
    """FFmpeg's own RTSP server, in a process of its own since it holds the interpreter while it listens."""
    url = f"rtsp://127.0.0.1:{free_port()}/live"
    with subprocess.Popen([sys.executable, "-c", _FFMPEG_LISTENS, url], stdout=subprocess.PIPE, text=True) as server:
        with BoundedSink(open_sink(url), policy="drop_oldest") as sink:
            push_until(sink, lambda: server.poll() is not None, moving(4, 320, 240))
        assert server.stdout is not None and server.stdout.read() == "320 240 yuv420p\n"


@pytest.mark.parametrize("token", ["s3cret\nX: y", "s3 cret", "s3cré"])
def test_a_token_that_no_header_can_hold_is_named_without_it(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("EDGEFACE_WEBHOOK_TOKEN", token)
    with pytest.raises(SinkError, match=r"`\$EDGEFACE_WEBHOOK_TOKEN` holds a blank, a line break") as caught:
        open_sink("webhook:https://host/a")
    assert token not in "".join(traceback.format_exception(caught.value))


def test_a_token_may_end_in_a_line_break_as_files_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_WEBHOOK_TOKEN", "s3cret\n")
    with Receiver([]) as server, open_sink(f"webhook:{server.url}#every=0") as sink:
        sink.append(result(pixels(), 0, 0.0))
        assert server.requests[0][1]["Authorization"] == "Bearer s3cret"


class AnswersOnce:
    """An RTSP server that takes one connection after the other and sends each its answers, one a request."""

    def __init__(self, *connections: list[str]) -> None:
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = urlsplit(f"rtsp://me:s3cret@127.0.0.1:{self._listener.getsockname()[1]}/cam")
        self._thread = threading.Thread(target=self._serve, args=(connections,), daemon=True)
        self._thread.start()

    def _serve(self, connections: tuple[list[str], ...]) -> None:
        for answers in connections:
            client, _ = self._listener.accept()
            with client:
                for answer in answers:
                    self.requests.append(client.recv(65_536).decode())
                    client.sendall(f"RTSP/1.0 {answer}\r\n\r\n".encode())
                client.recv(65_536)

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("200 OK\r\nContent-Length: 3000000000", "a length that is not from 0 to 65536 bytes"),
        ("200 OK\r\nContent-Length: " + "9" * 5000, "a length that is not from 0 to 65536 bytes"),
        ("200 OK\r\nContent-Length: -1", "a length that is not from 0 to 65536 bytes"),
        ("200 OK\r\nContent-Length: ٣", "a length that is not from 0 to 65536 bytes"),
        ("401 No\r\nWWW-Authenticate: Bearer x", "neither Digest with MD5 nor Basic"),
        ('401 No\r\nWWW-Authenticate: Digest realm="a", algorithm=SHA-256', "neither Digest with MD5 nor Basic"),
    ],
)
def test_an_answer_that_no_server_gives_is_one_sentence(answer: str, message: str) -> None:
    server = AnswersOnce([answer])
    tracemalloc.start()
    with pytest.raises(OSError, match=message):
        RtspPush(server.url, [b"\x67a", b"\x68b"], 2.0)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
    server.close()


def test_a_password_is_not_sent_in_clear_once_digest_was_asked() -> None:
    digest, basic = 'WWW-Authenticate: Digest realm="r", nonce="n"', 'WWW-Authenticate: Basic realm="r"'
    both = [f"401 No\r\n{digest}\r\n{basic}", "500 No"]
    server = AnswersOnce(both, [f"401 No\r\n{basic}"])
    login = Login(server.url)
    with pytest.raises(OSError, match="answers ANNOUNCE with 500"):
        RtspPush(server.url, [b"\x67a", b"\x68b"], 2.0, login)
    with pytest.raises(OSError, match=r"asks for the password in clear \(Basic\), where it was Digest before"):
        RtspPush(server.url, [b"\x67a", b"\x68b"], 2.0, login)
    server.close()
    assert "Authorization: Digest" in server.requests[1] and "Basic" not in "".join(server.requests)
    server = AnswersOnce([f"401 No\r\n{basic}", "500 No"])
    with pytest.raises(OSError, match="answers ANNOUNCE with 500"):
        RtspPush(server.url, [b"\x67a", b"\x68b"], 2.0)
    server.close()
    assert "Authorization: Basic" in server.requests[1]


@pytest.mark.parametrize("address", ["mqtt://h/a%00b", "mqtt://h/$SYS/x", "mqtt://h/a%0Ab", "mqtt://h/" + "a" * 2000])
def test_a_topic_that_no_broker_takes_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(SinkError, match="is no topic to publish to"):
        open_sink(address)


@pytest.mark.parametrize("prefix", ["home+assistant", "a%23", "$SYS", "a%1Bb"])
def test_a_discovery_prefix_that_no_broker_takes_is_refused_at_the_start(prefix: str) -> None:
    with pytest.raises(SinkError, match="option `discovery` expects a topic without"):
        open_sink(f"mqtt://h/a#discovery={prefix.replace('+', '%2B')}")
