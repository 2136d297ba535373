"""The pipeline's figures: on the CPU against its floor, on the emulated GPU with its copies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeface.api import FaceAnalyzer
from edgeface.bench.pipeline_speed import bench_pipeline
from edgeface.errors import ConfigError, SourceError
from edgeface.gpu.analyzer import GpuAnalyzer
from edgeface.gpu.pipeline import STAGES
from edgeface.pipeline.demo_clip import make_demo_clip
from tests.cuda import emulated
from tests.cuda.test_device import emulated_parts


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_demo_clip(path, seconds=0.3, size=(160, 96))
    return path


@pytest.fixture
def analyzer() -> Iterator[FaceAnalyzer]:
    with FaceAnalyzer(threads=1) as made:
        yield made


def test_the_pipeline_is_set_against_its_floor(clip: Path, analyzer: FaceAnalyzer) -> None:
    report = bench_pipeline(str(clip), analyzer, seconds=0.01, max_frames=4)
    assert (report.frames, report.size, report.rounds) == (4, (160, 96), 3)
    assert report.fps > 0 and report.floor_fps is not None and report.share is not None
    assert report.share.low <= report.share.median <= report.share.high
    assert set(report.stages_ms) == {"decode", "detect", "attributes", "track", "sink"}
    assert 0 < report.age_ms[0] <= report.age_ms[1] <= report.age_ms[2]
    assert report.copies is None and report.gpu is None and report.gpu_idle is None and "CPU" in report.device
    assert json.loads(json.dumps(report.to_dict()))["age_ms"]["max"] > 0


def test_on_a_gpu_every_copy_is_counted(clip: Path) -> None:
    with GpuAnalyzer(emulated_parts) as analyzer:
        report = bench_pipeline(str(clip), analyzer, seconds=0.01, max_frames=3)
    assert report.copies is not None and report.share is None
    assert report.copies["host_to_device"] == {"calls": 1, "bytes": 3 * 160 * 96}
    assert report.copies["device_to_device"]["calls"] == 0
    assert report.gpu_idle is not None and 0 < report.gpu_idle < 1
    cost = report.gpu
    assert cost is not None and (cost.size, cost.bucket) == ((160, 96), 1)
    assert list(cost.stages_ms) == list(STAGES) and min(cost.stages_ms.values()) > 0
    assert cost.graph_ms == pytest.approx(sum(cost.stages_ms.values()))
    assert set(cost.floor_ms) == {"upload", "detector", "attributes", "download"}
    assert 0 < cost.floor == pytest.approx(sum(cost.floor_ms.values()) / cost.graph_ms)
    assert cost.floor_ms["detector"] <= cost.stages_ms["detector"]
    assert min(cost.bare_ms, cost.call_ms, cost.copied_ms, cost.upload_gb_s, cost.download_gb_s) > 0
    assert json.loads(json.dumps(report.to_dict()))["gpu"]["overhead"]["median"] == cost.overhead.median
    assert emulated.alive() == 0


def test_what_cannot_be_timed_is_refused(tmp_path: Path, analyzer: FaceAnalyzer) -> None:
    with pytest.raises(SourceError, match="no source"):
        bench_pipeline(str(tmp_path / "none.mp4"), analyzer)
    with pytest.raises(ConfigError, match="seconds: expected more than 0"):
        bench_pipeline("demo", analyzer, seconds=0)
