"""The command line, called in this process or as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.fixtures import picture, tiny_detector, tiny_model  # noqa: F401


@dataclass(frozen=True)
class Result:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Result]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``edgeface`` with these arguments in this process."""
    from edgeface.cli.main import app

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments], prog_name="edgeface")
        printed = capsys.readouterr()
        return Result(int(ended.value.code or 0), printed.out, printed.err)

    return call


def command(*arguments: object) -> list[str]:
    """``edgeface`` as a child process' arguments; run it in the folder ``ROOT``."""
    return [sys.executable, "-m", "edgeface.cli.main", *map(str, arguments)]


def run_command(*arguments: object, **options: Any) -> Result:
    """Run ``edgeface`` in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command(*arguments), capture_output=True, text=True, env=env, timeout=120, **options)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def models(tiny_model: Path, tiny_detector: Path) -> list[str]:  # noqa: F811
    """Options that name the tiny models."""
    return ["--model", str(tiny_model), "--detector", str(tiny_detector)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A video of 12 frames with a face that moves and one that stays."""
    return write_clip(tmp_path / "clip.mp4", 12)


def write_clip(path: Path, frames: int) -> Path:
    """A video at 25 frames a second: one face stays, another is there in every second frame's half."""
    import numpy as np

    from edgeface.inference.result import FrameResult
    from edgeface.sinks.video import VideoSink
    from edgeface.types import Frame

    pixels = picture([(2, 2), (7, 5)])
    with VideoSink(path) as sink:
        for index in range(frames):
            shaded = np.clip(pixels.astype(int) + index % 3, 0, 255).astype(np.uint8)
            sink.append(FrameResult(Frame(shaded, index / 25, "made", index), ()))
    return path
