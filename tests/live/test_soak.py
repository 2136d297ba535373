"""The soak's own arithmetic, and its camera process."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from benchmarks.resources.soak import Fault, recoveries, resources, verdicts
from benchmarks.resources.soak_memory import Growth, allocator_mb
from benchmarks.resources.soak_peers import Peers, opened
from edgeface.errors import ConfigError
from edgeface.sources.open import open_source
from tests.live.camera_process import CameraProcess
from tests.live.watch import wait_until, watching
from tests.pipeline.clips import moving, result


def test_recoveries_are_counted_by_kind() -> None:
    faults = [Fault("drop", 0, 1, 1, 0.4), Fault("drop", 1, 2, 2, 0.8), Fault("away", 0, 3, 7, None)]
    figures = recoveries(faults)
    assert (figures["count"], figures["unrecovered"], figures["worst_s"]) == (3, 1, 0.8)
    assert figures["by_kind"]["drop"] == {"count": 2, "recovered": 2, "median_s": 0.6, "worst_s": 0.8}
    assert figures["by_kind"]["away"]["worst_s"] is None


def test_slopes_leave_the_start_out_and_ignore_spikes() -> None:
    samples = [(float(second), int(1e8 + 2e4 * second), 7, 20) for second in range(100, 1300)]
    samples[:200] = [(row[0], 0, 1, 1) for row in samples[:200]]
    samples[700] = (samples[700][0], int(9e9), 90, 900)
    figures = resources(samples)
    assert figures["memory_mb"]["slope_per_hour"] == pytest.approx(72, rel=0.01)
    assert figures["threads"] == figures["threads"] | {"first": 7, "last": 7, "slope_per_hour": 0}
    assert figures["files"]["slope_per_hour"] == 0


def test_verdicts_tell_a_leak_and_a_slow_recovery() -> None:
    level = {"first": 200.0, "last": 200.0, "slope_per_hour": 1.0}
    few = {"first": 7.0, "last": 7.0, "slope_per_hour": 0.0}
    figures = {
        "faults": {"unrecovered": 0, "worst_s": 1.0},
        "resources": {"memory_mb": level, "threads": few, "files": few},
        "age_p99_intervals": 1.0,
        "adds_up": True,
    }
    assert all(verdicts(figures).values())
    figures["resources"]["memory_mb"] = {**level, "slope_per_hour": 60.0}
    figures["resources"]["files"] = {**few, "slope_per_hour": 5.0}
    figures["faults"]["worst_s"] = 3.5
    assert {name for name, holds in verdicts(figures).items() if not holds} == {
        "memory_mb flat",
        "files flat",
        "recovered within 3 s",
    }


def test_a_camera_in_a_process_of_its_own_does_as_told() -> None:
    camera = CameraProcess("mjpeg", (160, 128), 25.0, faces=1)
    try:
        with open_source(camera.uri) as source, watching(source) as viewer:
            viewer.wait_for_more()
            camera.do("show", size=(320, 192))
            wait_until(lambda: viewer.sizes[-1] == (320, 192))
            camera.do("hang_up")
            wait_until(lambda: source.counters.reconnects == 1)
    finally:
        camera.close()


def test_memory_that_is_held_shows_in_the_allocators_figures_and_by_line() -> None:
    before, growth = allocator_mb(), Growth()
    if not before:
        pytest.skip("no glibc of 2.33 or newer here")
    growth.begin()
    try:
        held = [bytearray(100_000) for _ in range(2000)]
        assert 150 < allocator_mb()["used"] - before["used"] < 260
        first = growth.lines()[0]
    finally:
        tracemalloc.stop()
    assert "test_soak.py" in first["where"] and first["blocks"] >= len(held) and first["kb"] > 19_000


def test_every_kind_of_sink_is_opened_and_takes_results(tmp_path: Path) -> None:
    peers = Peers()
    try:
        sinks = opened(["jsonl", "webhook", "mqtt", "http"], tmp_path, peers)
        for sink in sinks:
            with sink:
                sink.append(result(moving(1)[0]))
        with pytest.raises(ConfigError, match="no sink of the kind `fax`, expected some of jsonl, csv, mp4"):
            opened(["fax"], tmp_path, peers)
    finally:
        peers.close()
    assert (tmp_path / "soak.jsonl").read_text(encoding="utf-8").count("\n") == 1
