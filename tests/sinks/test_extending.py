"""A sink of a user's own, as the documentation writes one."""

import re
from pathlib import Path

import pytest

from edgeface.api import FaceAnalyzer
from edgeface.errors import ConfigError
from edgeface.pipeline.demo_clip import make_demo_clip
from edgeface.pipeline.runner import run
from edgeface.sources.open import open_source

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "extending.md"


def test_the_documented_sink_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S) if "Sink" in block)
    monkeypatch.chdir(tmp_path)
    make_demo_clip(tmp_path / "clip.mp4", seconds=0.2)
    exec(compile(code, str(PAGE), "exec"), {"__name__": "example"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "done" and len(lines) == 6 and re.fullmatch(r"0 \[\d+\]", lines[0])


def test_an_object_that_only_looks_like_a_sink_is_refused(tmp_path: Path) -> None:
    make_demo_clip(tmp_path / "clip.mp4", seconds=0.1)
    with (
        open_source(tmp_path / "clip.mp4") as clip,
        FaceAnalyzer(threads=1) as analyzer,
        pytest.raises(ConfigError, match="derived from edgeface.sinks.base.Sink"),
    ):
        run(clip, analyzer, sinks=[object()])  # type: ignore[list-item]
