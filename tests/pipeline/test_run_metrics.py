"""Metrics as Prometheus' own reader sees them, their page, JSON logs, and what privacy leaves out of them."""

from __future__ import annotations

import json
import logging
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from edgeface.cli.live_options import logging_events, privacy_options, serving_metrics
from edgeface.errors import ConfigError, MissingDependencyError, SinkError
from edgeface.pipeline.prometheus import Metrics
from edgeface.pipeline.run_metrics import MetricsServer, run_metrics
from edgeface.pipeline.run_stats import RunStats
from edgeface.sinks.base import SinkCounters
from edgeface.sources.frame_queue import Counters
from edgeface.sources.open import open_sources

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed (extra `live`)")


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples by name and labels, by Prometheus' own parser; each occurs once."""
    samples = [s for family in parser.text_string_to_metric_families(text) for s in family.samples]
    found = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}
    assert len(found) == len(samples)
    return found


def a_run() -> RunStats:
    stats = RunStats()
    source: Callable[[str, str], Any] = lambda name, state: SimpleNamespace(  # noqa: E731
        name=name, state=state, live=True, counters=Counters(frames=100, dropped=40, reconnects=2, stalls=1, errors=3)
    )
    stats.watch([source("rtsp://cam/1", "live"), source("clip.mp4", "failed")], lambda: 7)
    stats.frames, stats.faces, stats.inferences = 60, 130, 12
    for milliseconds in range(1, 101):
        stats.ages_s.add(milliseconds / 1000)
        stats.stages_s["detect"].add(0.004)
        stats.stages_s["attributes"].add(0.002)
    return stats


def a_sink(name: str) -> Any:
    return SimpleNamespace(name=name, counters=SinkCounters(written=55, dropped=5, reconnects=1, errors=4, depth=2))


def test_a_run_in_prometheus_own_words() -> None:
    found = read(run_metrics(a_run(), [a_sink("a.jsonl"), a_sink("a.jsonl")]).text())
    camera = (("source", "rtsp://cam/1"),)
    assert found["edgeface_frames_total", ()] == 60 and found["edgeface_faces_total", ()] == 130
    assert found["edgeface_queue_depth", ()] == 7
    assert (
        found["edgeface_source_dropped_total", camera] == 40 and found["edgeface_source_reconnects_total", camera] == 2
    )
    assert found["edgeface_source_state", (*camera, ("state", "live"))] == 1
    assert found["edgeface_source_state", (*camera, ("state", "failed"))] == 0
    assert found["edgeface_frame_age_seconds", (("quantile", "0.99"),)] == pytest.approx(0.099, abs=2e-3)
    assert found["edgeface_frame_age_seconds_count", ()] == 100
    assert found["edgeface_stage_seconds_sum", (("stage", "detect"),)] == pytest.approx(0.4)
    assert found["edgeface_sink_written_total", (("sink", "a.jsonl#1"),)] == 55
    assert found["edgeface_sink_depth", (("sink", "a.jsonl#2"),)] == 2


def test_no_secret_is_in_a_label() -> None:
    stats = RunStats()
    stats.watch(open_sources(["rtsp://u:secret@cam/1", "rtsp://u:secret@cam/2?secret=1#name=door"]), lambda: 0)
    text = run_metrics(stats, [a_sink("x")]).text()
    assert "secret" not in text and 'source="rtsp://cam/1"' in text and 'source="door"' in text


def test_privacy_leaves_out_what_tells_whether_somebody_is_there() -> None:
    stats = a_run()
    text = run_metrics(stats, [], counts_only=True).text()
    before = read(text)
    stats.faces += 1
    stats.inferences += 1
    stats.stages_s["attributes"].add(0.5)
    after = read(run_metrics(stats, [], counts_only=True).text())
    moved = {key[0] for key in before if repr(before[key]) != repr(after[key])}
    assert all(name.startswith("process_") for name in moved)
    assert "faces" not in text and "inferences" not in text and "attributes" not in text


def test_names_and_types_stay_as_dashboards_know_them() -> None:
    found = [line.split()[2:] for line in run_metrics(a_run(), [a_sink("x")]).text().splitlines() if "# TYPE" in line]
    assert {name: kind for name, kind in found if not name.startswith("process_")} == {
        "edgeface_build_info": "gauge",
        "edgeface_frames_total": "counter",
        "edgeface_queue_depth": "gauge",
        "edgeface_faces_total": "counter",
        "edgeface_inferences_total": "counter",
        "edgeface_frame_age_seconds": "summary",
        "edgeface_stage_seconds": "summary",
        **{f"edgeface_source_{key}_total": "counter" for key in ("frames", "dropped", "skipped")},
        **{f"edgeface_source_{key}_total": "counter" for key in ("reconnects", "stalls", "errors")},
        "edgeface_source_state": "gauge",
        **{f"edgeface_sink_{key}_total": "counter" for key in ("written", "dropped", "reconnects", "errors")},
        "edgeface_sink_depth": "gauge",
    }


def test_the_process_is_described() -> None:
    found = read(Metrics().text())
    assert found["process_resident_memory_bytes", ()] > 1e6 and found["process_threads", ()] >= 1
    assert found["process_open_fds", ()] > 2 and found["process_cpu_seconds_total", ()] > 0


def test_without_prometheus_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    sentence = r"--metrics needs `prometheus-client`, which is not installed: .*pip install -e '.*\[live\]'"
    with pytest.raises(MissingDependencyError, match=sentence), serving_metrics(":0", RunStats()):
        pass


def test_the_page_of_metrics_and_health() -> None:
    stats = a_run()
    with serving_metrics("127.0.0.1:0", stats, [a_sink("x")]) as url:
        assert url is not None
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert read(answer.read().decode())["edgeface_frames_total", ()] == 60
        health = url.replace("/metrics", "/healthz")
        assert urllib.request.urlopen(health, timeout=30).read() == b"ok\n"
        for source in stats.sources:
            source.state = "failed"
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(health, timeout=30)


@pytest.mark.parametrize("address", ["host:x", ":70000", "9x"])
def test_a_wrong_address_is_one_sentence(address: str) -> None:
    with pytest.raises(SinkError, match=f"`{address}` is no address to serve at, expected HOST:PORT or :PORT"):
        MetricsServer(address, Metrics())


def test_events_as_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_events("json"):
        logging.getLogger("edgeface.live").warning("no %s", "frame", extra={"source": "cam", "state": "stalled"})
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert event.pop("time").endswith("Z")
    assert event == {"level": "warning", "message": "no frame", "source": "cam", "state": "stalled"}
    with logging_events("text"):
        logging.getLogger("edgeface.live").info("back")
    assert capsys.readouterr().err == "back\n"
    with pytest.raises(ConfigError, match="--log expects text or json, found `xml`"), logging_events("xml"):
        pass


def test_options_become_privacy() -> None:
    assert privacy_options(False).counts is None and privacy_options(False).heads is None
    options = privacy_options(True, 7, 30.0, "age, race", blur=True)
    assert options.heads == ("age", "race") and options.blur
    assert options.counts is not None and (options.counts.k, options.counts.interval_s) == (7, 30.0)
    with pytest.raises(ConfigError, match="--heads names nothing to tell"):
        privacy_options(False, heads=" ,")
