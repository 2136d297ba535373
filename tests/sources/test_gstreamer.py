"""GStreamer pipelines as sources: with the real GStreamer where it is installed, and one sentence where it is not."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgeface.errors import ConfigError, MissingDependencyError
from edgeface.sources.base import SourceOptions
from edgeface.sources.gstreamer import _made
from edgeface.sources.open import open_source

OPTIONS = SourceOptions(stall_s=5, give_up_s=2, backoff_s=(0.05, 0.1))
_SYSTEM = Path("/usr/lib/python3/dist-packages")


@pytest.fixture
def gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    """GStreamer's bindings, which are Debian's: a virtual environment need not see them."""
    if (_SYSTEM / "gi").is_dir():
        monkeypatch.syspath_prepend(str(_SYSTEM))
    gi = pytest.importorskip("gi", reason="apt install python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0")
    try:
        gi.require_version("Gst", "1.0")
        gi.require_version("GstVideo", "1.0")
        from gi.repository import Gst, GstVideo  # noqa: F401
    except (ImportError, ValueError) as error:
        pytest.skip(f"apt install gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 ({error})")


@pytest.mark.usefixtures("gstreamer")
@pytest.mark.parametrize("size", [(320, 240), (322, 242)], ids=["whole words", "padded rows"])
def test_a_pipelines_pictures_arrive_with_their_times(size: tuple[int, int]) -> None:
    caps = f"video/x-raw,width={size[0]},height={size[1]},framerate=50/1"
    uri = f"gst:videotestsrc num-buffers=6 is-live=true pattern=red ! {caps}"
    with open_source(uri, OPTIONS) as source:
        assert source.live
        frames = list(source.read())
    assert len(frames) >= 1 and source.state == "ended" and not source.problems
    assert {(frame.width, frame.height) for frame in frames} == {size}
    for frame in frames:
        assert np.abs(frame.pixels.reshape(-1, 3).astype(int) - (255, 0, 0)).max() <= 2
    times = [frame.pts_s for frame in frames]
    assert all(one is not None and other is not None and one < other for one, other in zip(times, times[1:]))


@pytest.mark.usefixtures("gstreamer")
def test_a_pipeline_that_breaks_is_tried_again_and_given_up() -> None:
    with open_source("gst:filesrc location=/nowhere/at/all ! decodebin", OPTIONS) as source:
        assert list(source.read()) == []
    assert source.state == "failed" and source.counters.errors > 1
    assert "GStreamer: " in str(source.problems[0])


@pytest.mark.usefixtures("gstreamer")
def test_a_mistake_in_the_pipeline_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="GStreamer cannot make the pipeline `nosuchelement`: .*nosuchelement"):
        open_source("gst:nosuchelement", OPTIONS)


@pytest.mark.parametrize("uri", ["gst:", "gst: ! "])
def test_an_empty_pipeline_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="names no pipeline"):
        open_source(uri)


def test_without_gstreamer_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(MissingDependencyError, match="needs GStreamer with its Python bindings .*: apt install"):
        open_source("gst:videotestsrc")


def test_a_pipeline_that_cannot_be_made_tells_no_password() -> None:
    pipeline = "rtspsrc location=rtsp://me:hunter2@camera user-pw=tr0ub4dor ! nothing"

    def parse_launch(text: str) -> None:
        raise RuntimeError(f'could not set property "location" to "rtsp://me:hunter2@camera" (tr0ub4dor) in {text}')

    with pytest.raises(
        ConfigError, match=r"cannot make the pipeline `gst:rtspsrc …`: could not set property"
    ) as caught:
        _made(SimpleNamespace(parse_launch=parse_launch), pipeline)
    told = "".join(traceback.format_exception(caught.value)).partition("ConfigError")[2]
    assert "hunter2" not in told and "tr0ub4dor" not in told
