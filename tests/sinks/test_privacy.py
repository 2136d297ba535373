"""What leaves the process: heads that are off, blurred faces, counts of at least k, and captured traffic."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.common.addresses import public_name
from edgeface.errors import ConfigError, SinkError
from edgeface.imaging.image_io import read_image
from edgeface.inference.result import FrameResult
from edgeface.sinks.base import MessageSink
from edgeface.sinks.counts import AGE_BANDS, Counter, CountOptions, anonymous, band
from edgeface.sinks.file_sinks import JsonlSink
from edgeface.sinks.privacy import CountingSink, FaceBlur, PrivacyOptions, guarded, open_guarded, without_heads
from edgeface.sinks.queue import BoundedSink
from edgeface.types import Frame
from tests.pipeline.clips import a_face, result
from tests.pipeline.peers import Listener, Receiver, free_port, mosquitto, needs_mosquitto, until

PIXELS = np.full((64, 96, 3), 90, np.uint8)


class Kept(MessageSink):
    """A sink that keeps what it gets."""

    name = "kept"

    def __init__(self, live: bool = False, pictures: bool = False) -> None:
        self.live, self.shows_images = live, pictures
        self.results: list[FrameResult] = []
        self.messages: list[dict[str, Any]] = []

    def append(self, item: FrameResult) -> None:
        self.results.append(item)

    def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    def close(self) -> None:
        pass


def crowd(people: range | list[int], pts_s: float, age: float = 34.0, source: str = "cam") -> FrameResult:
    faces = tuple(a_face(track=number, age=age, gender="female" if number % 2 else "male") for number in people)
    return FrameResult(Frame(PIXELS, pts_s, source, round(25 * pts_s)), faces)


def test_live_sinks_tell_no_race_unless_asked() -> None:
    for live, heads, told in [
        (True, None, (34.4, "female", None)),
        (True, ("age", "gender", "race"), (34.4, "female", "White")),
        (False, None, (34.4, "female", "White")),
        (False, ("age",), (34.4, None, None)),
        (True, ("race",), (None, None, "White")),
    ]:
        kept = Kept(live)
        guarded(kept, PrivacyOptions(heads)).append(result(PIXELS))
        (face,) = kept.results[0].faces
        assert (face.age, face.gender, face.race) == told
        assert [face.age_std is None, face.gender_confidence is None, face.race_confidence is None] == [
            value is None for value in told
        ]


def test_a_head_that_is_off_is_not_named_as_unsure() -> None:
    face = without_heads(a_face(abstained=("age", "race")), ("age", "gender"))
    assert face.abstained == ("age",)
    assert "White" not in json.dumps(face.to_dict())


@pytest.mark.parametrize("heads", [("height",), ("age", "ethnicity")])
def test_an_unknown_head_says_what_there_is(heads: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"no head `{heads[-1]}`, expected some of age, gender, race"):
        PrivacyOptions(heads)


def test_blurring_hides_the_face_and_leaves_the_run_its_pixels(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    frame = FrameResult(Frame(noise, 0.0, "cam", 0), (a_face((40, 40, 80, 80)),))
    before = noise.copy()
    blurred = FaceBlur()(frame)
    assert (noise == before).all() and (blurred.pixels[:20] == before[:20]).all()
    inside = blurred.pixels[32:88, 32:88].astype(float)
    assert np.abs(np.diff(inside, axis=1)).mean() < 6 < np.abs(np.diff(before.astype(float), axis=1)).mean()
    with guarded(Kept(pictures=True), PrivacyOptions(blur=True)) as sink:
        sink.append(frame)
    assert (sink.inner.results[0].frame.pixels != before).any()
    with open_guarded(f"{tmp_path}/out/", PrivacyOptions(blur=True)) as pictures:
        pictures.append(frame)
    (written,) = (tmp_path / "out").iterdir()
    drawn = read_image(written)[50:70, 50:70].astype(float)
    assert np.abs(np.diff(drawn, axis=1)).mean() < 8


def test_a_face_stays_blurred_where_it_was_missed_for_a_moment() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    blur = FaceBlur()
    face, no_one = (a_face((40, 40, 80, 80)),), ()
    blur(FrameResult(Frame(noise, 0.0, "cam", 0), face))
    assert (blur(FrameResult(Frame(noise, 0.0, "other", 0), no_one)).pixels == noise).all(), "sources are apart"
    for index in range(9):
        missed = blur(FrameResult(Frame(noise, 0.0, "cam", index + 1), no_one))
        assert (missed.pixels[50:70, 50:70] != noise[50:70, 50:70]).mean() > 0.9
    assert (blur(FrameResult(Frame(noise, 0.0, "cam", 10), no_one)).pixels == noise).all()


@given(
    totals=st.dictionaries(st.sampled_from(["a", "b", "c", "d", "unsure"]), st.integers(1, 30), min_size=1),
    k=st.integers(2, 10),
)
def test_every_published_group_has_k_people(totals: dict[str, int], k: int) -> None:
    if sum(totals.values()) < k:
        return
    told = anonymous(totals, k)
    assert sum(told.values()) == sum(totals.values())
    assert min(told.values()) >= k
    assert all(told[group] == totals[group] for group in told if group != "other")


@given(k=st.integers(2, 8), count=st.integers(0, 12))
def test_of_fewer_than_k_people_nothing_is_told_not_even_whether_there_were_any(k: int, count: int) -> None:
    counter = Counter(CountOptions(k), ("age", "gender"))
    counter.add(crowd(range(1, count + 1), 0.0).faces)
    empty = Counter(CountOptions(k), ("age", "gender")).message("cam", None)
    message = counter.message("cam", None)
    assert (message == empty) == (count < k)
    assert message["people"] == (count if count >= k else None)


def test_ages_fall_into_bands() -> None:
    assert [band(age) for age in (0.0, 17.9, 18.0, 59.99, 60.0, 119.0, 150.0, None)] == [
        *("0-17", "0-17", "18-29", "45-59", "60-120", "60-120", "60-120"),
        None,
    ]
    assert all(low[1] + 1 == high[0] for low, high in zip(AGE_BANDS, AGE_BANDS[1:]))


@pytest.mark.parametrize(("k", "interval_s", "message"), [(1, 60, "found k 1"), (5, 0.5, "at least 1 s, found 0.5")])
def test_counts_that_are_none_are_refused(k: int, interval_s: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CountOptions(k, interval_s)


def test_people_are_counted_once_an_interval_and_source() -> None:
    kept = Kept()
    with CountingSink(kept, CountOptions(3, 10.0)) as sink:
        for second in range(25):
            sink.append(crowd(range(1, 7), second, source="a"))
            sink.append(crowd([1, 2], second, source="b"))
    told = [(m["source"], m["people"], m["complete"]) for m in kept.messages]
    assert sorted(told, key=str) == sorted(
        [("a", 6, True), ("a", 6, True), ("a", 6, False), ("b", None, True), ("b", None, True), ("b", None, False)],
        key=str,
    )
    assert kept.results == []
    message = next(m for m in kept.messages if m["people"])
    assert message["gender"] == {"female": 3, "male": 3} and message["age"] == {"30-44": 6} and "race" not in message


def test_unsure_answers_are_counted_as_such_and_glances_not_at_all() -> None:
    kept = Kept()
    faces = tuple(a_face(track=i, abstained=("gender",)) for i in range(5)) + (a_face(track=None),)
    with CountingSink(kept, CountOptions(5, 10.0), ("gender",)) as sink:
        sink.append(FrameResult(Frame(PIXELS, 0.0, "cam", 0), faces))
    assert kept.messages[0]["people"] == 5 and kept.messages[0]["gender"] == {"unsure": 5}


def test_live_frames_are_counted_by_the_clock() -> None:
    kept = Kept(live=True)
    with CountingSink(kept, CountOptions(2, 10.0)) as sink:
        for second in (100.0, 109.0, 110.5):
            frame = crowd([1, 2], 7.0)
            sink.append(FrameResult(dataclasses.replace(frame.frame, captured_s=second), frame.faces))
    assert [m["complete"] for m in kept.messages] == [True, False]
    assert kept.messages[0]["start"].endswith("+00:00")


@pytest.mark.parametrize(("uri", "kind"), [("a.mp4", "images"), ("out/", "images"), ("a.csv", "rows about single")])
def test_privacy_refuses_pictures_and_rows(tmp_path: Path, uri: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"takes {kind}.*of which none may leave with --privacy"):
        open_guarded(f"{tmp_path}/{uri}", PrivacyOptions(counts=CountOptions()))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_privacy_keeps_a_files_errors(tmp_path: Path) -> None:
    with pytest.raises(SinkError):
        open_guarded("webhook:nowhere", PrivacyOptions(counts=CountOptions()))
    with pytest.raises(RuntimeError), CountingSink(JsonlSink(tmp_path / "a.jsonl"), CountOptions()):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


class Tap:
    """A wire tap: passes a TCP connection on to ``port`` and keeps every byte of both directions."""

    def __init__(self, port: int) -> None:
        self.bytes = b""
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._joined: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._joined += (client, server)
            for near, far in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(near, far), daemon=True).start()

    def _pass(self, near: socket.socket, far: socket.socket) -> None:
        try:
            while data := near.recv(1 << 16):
                self.bytes += data
                far.sendall(data)
        except OSError:
            return
        finally:
            with contextlib.suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for one in (self._listener, *self._joined):
            one.close()


TELLING = (b"track", b"box", b"landmarks", b'"faces"', b"\xff\xd8\xff", b"JFIF", b"score", b"34.0", b"race", b"White")
"""What would be about a single person or an image; tracks have numbers that occur in nothing else."""


def run_privately(uri: str) -> None:
    options = PrivacyOptions(counts=CountOptions(5, 10.0))
    with BoundedSink(open_guarded(uri, options), depth=1000, policy="drop_oldest") as sink:
        for second in range(31):
            people = list(range(70_001, 70_013)) if second < 20 else [70_050]
            sink.append(crowd(people, float(second), source=public_name("rtsp://user:pw@cam/1?key=x")))


def assert_private(traffic: bytes) -> None:
    assert traffic and [word for word in (*TELLING, b"pw", b"key=x") if word in traffic] == []
    assert [number for number in range(70_001, 70_100) if str(number).encode() in traffic] == []


def test_captured_traffic_of_a_webhook_holds_no_pixels_and_no_ids() -> None:
    with Receiver([]) as server:
        tap = Tap(server.port)
        run_privately(f"webhook:http://127.0.0.1:{tap.port}/hook")
        tap.close()
    assert [body["people"] for body in server.bodies] == [12, 12, None, None]
    assert server.bodies[0]["source"] == "rtsp://cam/1/…"
    assert_private(tap.bytes)


@needs_mosquitto
def test_captured_traffic_of_mqtt_holds_no_pixels_and_no_ids(tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed (extra `live`)")
    port = free_port()
    with mosquitto(tmp_path, port), Listener(port) as heard:
        tap = Tap(port)
        run_privately(f"mqtt://127.0.0.1:{tap.port}/home")
        (topic,) = until(lambda: [topic for topic in heard.messages if topic.endswith("/counts")])
        until(lambda: len(heard.json(topic)) == 4)
        tap.close()
    assert {topic.rpartition("/")[2] for topic in heard.messages} == {"counts", "config", "availability"}
    assert [message["people"] for message in heard.json(topic)] == [12, 12, None, None]
    assert_private(tap.bytes)


def test_captured_traffic_of_the_page_holds_no_pixels_and_no_ids() -> None:
    sink = open_guarded("http://127.0.0.1:0", PrivacyOptions(counts=CountOptions(5, 1.0)))
    tap = Tap(int(sink.name.rpartition(":")[2]))
    viewers = []
    for path in ("/events", "/stream.mjpg"):
        viewer = socket.create_connection(("127.0.0.1", tap.port))
        viewer.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        viewers.append(viewer)
    until(lambda: b"retry: 1000" in tap.bytes)
    with sink:
        for second in range(4):
            sink.append(crowd(range(70_001, 70_013), 2.0 * second))
        until(lambda: tap.bytes.count(b'"people": 12') >= 3)
    tap.close()
    for viewer in viewers:
        viewer.close()
    assert_private(tap.bytes)


@pytest.mark.parametrize("live", [True, False])
def test_results_are_counted_behind_any_guard(live: bool) -> None:
    for options, written in ((PrivacyOptions(("age",)), 3), (PrivacyOptions(counts=CountOptions()), 1)):
        with BoundedSink(guarded(Kept(live), options)) as sink:
            for index in range(3):
                sink.append(result(PIXELS, index, 0.0))
        assert sink.counters.written == written and sink.counters.dropped == 0
