"""``edgeface bench --pipeline``: the table, JSON and wrong settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeface.cli import options
from edgeface.gpu.analyzer import GpuAnalyzer
from edgeface.gpu.pipeline import STAGES
from edgeface.pipeline.demo_clip import make_demo_clip
from tests.cli.conftest import Cli
from tests.cuda.test_device import emulated_parts


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    make_demo_clip(path, seconds=0.3, size=(160, 96))
    return path


def test_the_command_prints_and_saves(cli: Cli, clip: Path, tmp_path: Path) -> None:
    saved = tmp_path / "pipeline.json"
    result = cli("bench", "--pipeline", clip, "--seconds", "0.01", "--save", saved)
    assert result.code == 0
    assert "decoding and bare networks:" in result.out and "p95 ms" in result.out
    assert json.loads(saved.read_text())["frames"] > 0
    assert cli("bench", "--pipeline", clip, "--seconds", "0.01", "--json").json()["clip"] == "clip.mp4"


def test_models_beside_a_pipeline_are_refused(cli: Cli, clip: Path, tiny_model: Path) -> None:
    result = cli("bench", tiny_model, "--pipeline", clip)
    assert result.code == 1 and "name models by --model and --detector" in result.err
    assert "no artefact to bench" in cli("bench").err


def test_on_a_gpu_stages_stand_beside_their_floor(cli: Cli, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "analyzer", lambda *_: GpuAnalyzer(emulated_parts))
    out = cli("bench", "--pipeline", clip, "--seconds", "0.01").out
    for stage in STAGES:
        assert f"{stage} " in out
    assert "floor ms" in out and "ms bare" in out and "GB/s up" in out
    assert "the GPU had nothing to do" in out and "host to device a frame: 1 calls, 46080 bytes" in out
