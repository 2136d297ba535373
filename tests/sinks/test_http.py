"""The page of ``http://``: images and events over real sockets, in a real Chromium, with viewers that misbehave."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.errors import SinkError
from edgeface.imaging.image_io import decode_image
from edgeface.sinks.http import HttpSink
from edgeface.sinks.open import open_sink
from edgeface.types import Image
from tests.pipeline.browser import browser, needs_chromium
from tests.pipeline.clips import result
from tests.pipeline.peers import until


def pixels(width: int = 96, height: int = 64, level: int = 90) -> Image:
    return np.full((height, width, 3), level, np.uint8)


@contextmanager
def feeding(sink: HttpSink, sources: tuple[str, ...] = ("cam",)) -> Iterator[None]:
    """A run in another thread: frames that get brighter, one after the other."""
    stop = threading.Event()

    def feed() -> None:
        index = 0
        while not stop.wait(0.02):
            for number, source in enumerate(sources):
                sink.append(result(pixels(level=60 + 100 * number), index, index / 50, faces=2, source=source))
            index += 1

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


_opened: list[http.client.HTTPResponse | http.client.HTTPConnection] = []


@pytest.fixture(autouse=True)
def closed_connections() -> Iterator[None]:
    """What a test has asked for is closed with it, not when the collector comes."""
    yield
    while _opened:
        _opened.pop().close()


def get(sink: HttpSink, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", int(sink.url.rpartition(":")[2]), timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    _opened.extend((answer, connection))
    return answer


def next_picture(answer: http.client.HTTPResponse) -> Image:
    assert answer.fp.readline().startswith(b"--edgeface-frame")
    assert answer.fp.readline() == b"Content-Type: image/jpeg\r\n"
    length = int(answer.fp.readline().split(b":")[1])
    answer.fp.readline()
    data = answer.fp.read(length)
    answer.fp.readline()
    return decode_image(data)


def next_event(answer: http.client.HTTPResponse) -> Any:
    while True:
        line = answer.fp.readline()
        assert line, "the stream of events has ended"
        if line.startswith(b"data: "):
            return json.loads(line[6:])


def test_pictures_are_drawn_on_and_scaled() -> None:
    with open_sink("http://127.0.0.1:0#width=48&quality=95") as sink, feeding(sink):
        answer = get(sink, "/stream.mjpg")
        assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=edgeface-frame"
        for _ in range(3):
            picture = next_picture(answer)
            assert picture.shape == (32, 48, 3) and picture.max() > 150


def test_each_source_has_its_stream() -> None:
    with open_sink("http://127.0.0.1:0") as sink, feeding(sink, ("a b", "c")):
        answers = [get(sink, path) for path in ("/stream.mjpg", "/stream.mjpg?source=a+b", "/stream.mjpg?source=c")]
        levels = [int(np.median(next_picture(answer))) for answer in answers]
    assert levels == pytest.approx([60, 60, 160], abs=4)


def test_events_are_the_results_in_order() -> None:
    with open_sink("http://127.0.0.1:0") as sink, feeding(sink):
        answer = get(sink, "/events")
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        events = [next_event(answer) for _ in range(5)]
    first = events[0]["frame"]
    assert [event["frame"] for event in events] == list(range(first, first + 5))
    assert events[0]["schema"] == 1 and len(events[0]["faces"]) == 2


def test_nobody_looks_nothing_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise AssertionError("encoded")

    monkeypatch.setattr("edgeface.sinks.http.jpeg_of", refuse)
    with open_sink("http://127.0.0.1:0") as sink:
        for index in range(10):
            sink.append(result(pixels(), index))
        assert sink.counters.written == 10


def test_a_viewer_that_reads_nothing_holds_up_nobody() -> None:
    with open_sink("http://127.0.0.1:0") as sink:
        lazy = socket.create_connection(("127.0.0.1", int(sink.url.rpartition(":")[2])))
        lazy.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
        with feeding(sink):
            for index in range(100):
                sink.append(result(noise, index, source="noise"))
            assert next_event(get(sink, "/events"))
        lazy.close()


def test_viewers_are_bounded_and_a_place_becomes_free() -> None:
    with open_sink("http://127.0.0.1:0") as sink, feeding(sink):
        viewers = [get(sink, "/events") for _ in range(16)]
        assert get(sink, "/events").status == 503
        assert get(sink, "/").status == 200, "a page takes no place"
        viewers[0].close()
        assert until(lambda: get(sink, "/events").status == 200)


def test_other_pages_and_other_hosts_are_refused() -> None:
    with open_sink("http://127.0.0.1:0") as sink:
        answer = get(sink, "/../etc/passwd")
        assert answer.status == 404 and answer.read() == b"no such page, there is: / /stream.mjpg /events\n"
        assert get(sink, "/", Host="evil.example").status == 403
        assert get(sink, "/", Host="localhost:1").status == 200
        page = get(sink, "/")
        assert page.headers["Cache-Control"] == "no-store" and b"<title>edgeface</title>" in page.read()


def test_a_taken_port_is_one_sentence() -> None:
    with open_sink("http://:0") as sink:
        port = sink.url.rpartition(":")[2]
        assert sink.url == f"http://127.0.0.1:{port}", "without a host this machine only"
        with pytest.raises(SinkError, match=f"cannot serve at 127.0.0.1:{port}: Address already in use, name another"):
            open_sink(f"http://127.0.0.1:{port}")


def test_closing_ends_every_stream() -> None:
    sink = open_sink("http://127.0.0.1:0")
    sink.append(result(pixels()))
    answer = get(sink, "/events")
    sink.close()
    sink.close()
    assert answer.fp.read().endswith(b"retry: 1000\n\n")
    with pytest.raises(SinkError, match="is closed, open it again"):
        sink.append(result(pixels()))


@needs_chromium
def test_the_page_plays_in_chromium(tmp_path: Path) -> None:
    with open_sink("http://127.0.0.1:0") as sink, feeding(sink, ("cam 1", "cam 2")), browser(tmp_path) as page:
        page.open(sink.url)
        page.wait_for("document.images.length == 2 && [...document.images].every(image => image.naturalWidth == 96)")
        assert page.value("document.getElementById('state').textContent") == "live"
        first = page.wait_for(
            "document.querySelector('figcaption').textContent.match(/cam 1 · frame ([0-9]+) · 2/)?.[1]"
        )
        page.wait_for(f"document.querySelector('figcaption').textContent.match(/frame ([0-9]+)/)[1] > {first}")
        table = page.value("document.querySelector('table').innerText")
        assert "34 ± 6" in table and "female 97 %" in table and "White 92 %" in table
        shot = decode_image(page.screenshot(tmp_path / "page.png").read_bytes())
        assert (abs(shot.astype(int) - 160).max(axis=2) < 6).mean() > 0.05, "the image of cam 2 is on the screen"


def connected(sink: HttpSink, address: str = "127.0.0.1") -> socket.socket:
    port = int(sink.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(address, 0))


def test_an_address_with_all_places_makes_room_for_another() -> None:
    with open_sink("http://127.0.0.1:0") as sink, feeding(sink):
        viewers = [get(sink, "/events") for _ in range(16)]
        for _ in range(8):
            other = connected(sink, "127.0.0.2")
            other.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert other.recv(64).startswith(b"HTTP/1.1 200 ")
            viewers.append(other)
        last = connected(sink, "127.0.0.2")
        last.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert last.recv(64).startswith(b"HTTP/1.1 503 "), "each has its half"


def test_slow_clients_take_neither_descriptors_nor_the_owners_way_in() -> None:
    with open_sink("http://127.0.0.1:0") as sink, feeding(sink):
        before = len(os.listdir("/proc/self/fd"))
        slow = []
        for _ in range(320):
            one = connected(sink)
            with contextlib.suppress(OSError):  # it is hung up on already
                one.sendall(b"GET / HTTP/1.1\r\nX: ")
            slow.append(one)
        assert threading.active_count() < 90 and len(os.listdir("/proc/self/fd")) - before - len(slow) < 80
        assert get(sink, "/").status == 200
        for one in slow:
            one.close()


def test_the_head_of_a_request_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeface.common.web_server._PATIENCE_S", 0.3)
    with open_sink("http://127.0.0.1:0") as sink:
        drip = connected(sink)

        def ended() -> bool:
            try:
                drip.sendall(b"X")  # a byte now and then, which each wait for one would allow
                drip.setblocking(False)
                return drip.recv(1) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True

        assert until(ended)


def test_no_other_site_may_frame_or_read_it() -> None:
    with open_sink("http://127.0.0.1:0") as sink:
        page = get(sink, "/")
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and "unsafe" not in policy
        for path in ("/", "/events", "/none"):
            headers = get(sink, path).headers
            assert (
                headers["X-Frame-Options"] == "DENY" and "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            )
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        assert get(sink, "/stream.mjpg", **foreign).status == 403


def test_a_token_keeps_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_HTTP_TOKEN", "s3cret")
    with open_sink("http://127.0.0.1:0") as sink, feeding(sink):
        assert [get(sink, path).status for path in ("/", "/events", "/stream.mjpg", "/none")] == [401] * 4
        assert get(sink, "/", Authorization="Bearer wrong").status == 401
        assert next_event(get(sink, "/events", Authorization="Bearer s3cret"))
        moved = get(sink, "/?token=s3cret")
        cookie = moved.headers["Set-Cookie"]
        assert (moved.status, moved.headers["Location"]) == (303, "/") and "HttpOnly; SameSite=Strict" in cookie
        assert get(sink, "/", Cookie=cookie.partition(";")[0]).status == 200
    monkeypatch.setenv("EDGEFACE_HTTP_TOKEN", "s3 cret")
    with pytest.raises(SinkError, match=r"`\$EDGEFACE_HTTP_TOKEN` holds a blank"):
        open_sink("http://127.0.0.1:0")


def test_a_folder_of_images_does_not_fill_the_memory() -> None:
    with open_sink("http://127.0.0.1:0") as sink:
        for index in range(200):
            sink.append(result(pixels(), 0, source=f"images/{index}.jpg"))
        assert len(sink._newest) <= 16 and "images/199.jpg" in sink._newest
