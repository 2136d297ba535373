"""The fault lab: a real camera on loopback that drops, stalls, sends noise, changes, closes, and comes back."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from edgeface.sources.base import SourceOptions
from edgeface.sources.open import open_source
from tests.live.camera import KINDS, FaultCamera, View, shades
from tests.live.watch import Viewer, wait_until, watching

OPTIONS = SourceOptions(open_s=5.0, stall_s=0.6, backoff_s=(0.05, 0.2), give_up_s=60.0)


@pytest.fixture(params=KINDS)
def camera(request: pytest.FixtureRequest) -> Iterator[FaultCamera]:
    with FaultCamera(request.param) as camera:
        yield camera


@pytest.fixture
def viewer(camera: FaultCamera) -> Iterator[Viewer]:
    """Someone who sees the camera's images already."""
    with open_source(camera.uri, OPTIONS) as source, watching(source) as viewer:
        viewer.wait_for_more()
        yield viewer
        assert all(earlier < later for earlier, later in itertools.pairwise(viewer.times))
        assert source.problems == []


def test_pictures_come_as_they_were_taken(camera: FaultCamera, viewer: Viewer) -> None:
    counters = viewer.source.counters
    viewer.wait_for_more(10)
    assert viewer.source.state == "live" and set(viewer.sizes) == {camera.view.size}
    assert viewer.last is not None and viewer.last.captured_s is not None
    assert time.monotonic() - viewer.last.captured_s < 5
    assert np.ptp(viewer.last.pixels.astype(int)) < 12
    assert (counters.reconnects, counters.stalls) == (0, 0)


def test_a_connection_that_drops_is_made_again(camera: FaultCamera, viewer: Viewer) -> None:
    for times in (1, 2):
        camera.hang_up()
        wait_until(lambda: viewer.source.counters.reconnects == times)  # noqa: B023
        viewer.wait_for_more()
    assert viewer.source.counters.errors >= 2 and viewer.source.state == "live"


def test_a_stall_is_noticed_and_pictures_go_on_afterwards(camera: FaultCamera, viewer: Viewer) -> None:
    camera.stall()
    wait_until(lambda: viewer.source.counters.stalls >= 1)
    wait_until(lambda: viewer.source.state == "reconnecting")
    camera.stall(False)
    viewer.wait_for_more()
    assert viewer.source.counters.reconnects >= 1


def test_a_camera_that_was_away_is_found_again(camera: FaultCamera, viewer: Viewer) -> None:
    camera.down()
    wait_until(lambda: viewer.source.counters.errors >= 3)
    assert viewer.source.state == "reconnecting"
    camera.up()
    viewer.wait_for_more()
    assert viewer.source.counters.reconnects == 1


def test_noise_is_survived(camera: FaultCamera, viewer: Viewer) -> None:
    camera.garbage(0.3)
    time.sleep(0.3)
    viewer.wait_for_more(20)
    assert viewer.source.state == "live"


def test_another_size_in_mid_stream_needs_no_new_connection(camera: FaultCamera, viewer: Viewer) -> None:
    camera.show(size=(320, 192))
    wait_until(lambda: viewer.sizes[-1] == (320, 192))
    viewer.wait_for_more()
    assert set(viewer.sizes) == {(160, 128), (320, 192)}
    assert viewer.source.counters.reconnects == 0


@pytest.mark.parametrize("ahead_s", [3600.0, -7.0])
def test_a_clock_that_is_set_does_not_show(camera: FaultCamera, viewer: Viewer, ahead_s: float) -> None:
    before = viewer.times[-1]
    camera.show(ahead_s=ahead_s)
    viewer.wait_for_more(20)
    assert before < viewer.times[-1] < before + 60
    assert viewer.last is not None and viewer.last.captured_s is not None
    assert abs(time.monotonic() - viewer.last.captured_s) < 10


def test_another_codec_in_mid_stream_is_met_by_a_new_connection() -> None:
    with (
        FaultCamera("ts") as camera,
        open_source(camera.uri, OPTIONS) as source,
        watching(source) as viewer,
    ):
        viewer.wait_for_more()
        camera.show(codec="mpeg4")
        wait_until(lambda: source.counters.reconnects >= 1)
        viewer.wait_for_more(20)
        assert source.state == "live"


def test_a_camera_that_never_was_there_fails_with_a_reason() -> None:
    with FaultCamera("mjpeg") as camera:
        uri = camera.uri.replace("://", "://me:secret@")
        camera.down()
        with open_source(uri, SourceOptions(backoff_s=(0.05, 0.1), give_up_s=0.3)) as source:
            assert list(source) == []
    (problem,) = source.problems
    assert source.state == "failed" and source.counters.errors >= 2
    assert str(problem).startswith(f"`{camera.uri}` failed without a single frame, given up after 0.3 s: connection re")


def test_a_camera_that_never_comes_back_fails_with_what_it_gave() -> None:
    options = SourceOptions(stall_s=0.3, backoff_s=(0.05, 0.1), give_up_s=0.6)
    with FaultCamera("mjpeg") as camera, open_source(camera.uri, options) as source, watching(source) as viewer:
        viewer.wait_for_more()
        camera.down()
        wait_until(lambda: source.state == "failed")
        assert f"failed after {source.counters.frames} frames, given up after 0.6 s" in str(source.problems[0])


def test_closing_does_not_wait_for_a_camera_that_is_silent() -> None:
    with FaultCamera("rtsp") as camera:
        source = open_source(camera.uri, SourceOptions(stall_s=20.0))
        frames = iter(source)
        next(frames)
        camera.stall()
        started_s = time.monotonic()
        frames.close()
        assert time.monotonic() - started_s < 15, "it ends although the demuxer waits for 20 s"


def test_iterating_slowly_gives_the_newest_frame_each_time() -> None:
    with FaultCamera("mjpeg", View(fps=50)) as camera, open_source(camera.uri, OPTIONS) as source:
        ages = []
        for frame in itertools.islice(source, 15):
            assert frame.captured_s is not None
            ages.append(time.monotonic() - frame.captured_s)
            time.sleep(0.1)
    counters = source.counters
    assert counters.dropped >= 15 and counters.frames - counters.dropped <= 16
    assert max(ages[-3:]) < 1.0, "a queue would be seconds behind by now"


def test_a_stream_that_cannot_be_decoded_in_time_is_caught_up_with() -> None:
    options = SourceOptions(stall_s=10.0, max_lag_s=0.4)
    with FaultCamera("rtsp", View(fps=25)) as camera, open_source(camera.uri, options) as source:
        ages = []
        for frame in source.read():
            assert frame.captured_s is not None
            ages.append(time.monotonic() - frame.captured_s)
            if len(ages) == 45:
                break
            time.sleep(0.1)
    assert source.counters.skipped > 10
    assert max(ages) < 2.5 and source.counters.reconnects == 0, "45 frames at 10 a second would be 2.7 s behind"


def test_hls_is_played_at_its_pace_to_its_end(tmp_path: Path) -> None:
    """A finished playlist: every segment's frames, spread over time, then the end and no new connection."""
    with av.open(str(tmp_path / "a.m3u8"), "w", format="hls", options={"hls_time": "1", "hls_list_size": "0"}) as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "25", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for index in range(50):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(shades((160, 128), index), format="rgb24")))
        out.mux(stream.encode(None))
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_source(f"http://127.0.0.1:{server.server_port}/a.m3u8", OPTIONS) as source:
            started_s = time.monotonic()
            frames = list(source.read())
            took_s = time.monotonic() - started_s
        server.shutdown()
    assert len(frames) == 50 and source.state == "ended" and source.counters.reconnects == 0
    assert took_s > 1.5


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass
