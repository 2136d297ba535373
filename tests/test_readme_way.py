"""The README's way from a data set to a device, its commands run one after another on a few real faces."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeface.evaluation.datasets import in_folds
from edgeface.inference.detector import shipped_model
from tests.conftest import ROOT
from tests.fixtures import open_faces

for _package in ("torch", "onnx"):
    pytest.importorskip(_package, reason=f"{_package} is not installed (extra `train`)")

JUDGED, OTHERS = 40, 240
IN_SMALL = {
    "path/to/utkface": "faces",
    "--size 512": "--size 32",
    "small.toml": "small.toml --set smoke=true --set cache=cache",
    "--target cpu": "--target cpu --no-gate",
    "video.mp4": "clip/clip.mp4 --max-frames 3",
}
"""What of the commands is made smaller. A few faces say nothing of a loss, so that the gate stays out."""


def commands() -> list[str]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## From a data set to a Jetson")[2].partition("\n- ")[0]
    return [line.strip() for line in re.findall(r"^ {4}.+$", section, re.MULTILINE)]


def write_faces(shared: Path, folder: Path) -> None:
    """A few of UTKFace's images as files, those of fold 1 among them."""
    folder.mkdir()
    for fold, count in ((1, JUDGED), (3, OTHERS)):
        chips = open_faces(shared / "data" / "utkface" / f"utkface-fold{fold}.zip")
        names = [face.name for face in in_folds(chips.faces, [fold])]
        names = names[:: len(names) // count][:count]
        for name, data in zip(names, chips.read(names)):
            (folder / Path(name).name).write_bytes(data)


def run(line: str, folder: Path) -> str:
    """Run one command as a shell would; what it printed. ``edgeface`` and ``python`` are this environment's."""
    words = shlex.split(line)
    start = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "edgeface.cli.main"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EDGEFACE_CACHE": str(folder / "cache")}
    done = subprocess.run(start + words[1:], cwd=folder, env=environment, capture_output=True, text=True)
    # parity says with 1 that so few faces exceed the budget, which is an answer
    assert done.returncode == 0 or (words[1] == "parity" and done.returncode == 1), done.stderr
    return done.stdout


def test_the_eight_commands_lead_from_faces_to_a_video(shared: Path, tmp_path: Path) -> None:
    write_faces(shared, tmp_path / "faces")
    (tmp_path / "trainer").symlink_to(ROOT / "trainer")
    run("edgeface demo --out clip", tmp_path)
    install, *lines = commands()
    assert len(lines) == 7 and install.startswith("pip install -e")
    for line in lines:
        for long, short in IN_SMALL.items():
            line = line.replace(long, short)
        said = run(line, tmp_path)
        if "evaluate" in line:
            assert re.search(rf"\b{JUDGED}\b", said), said
            shutil.copy(shipped_model("attributes.onnx"), tmp_path / "model.onnx")  # a trained one from here
    assert (tmp_path / "model.int8.onnx").stat().st_size < (tmp_path / "model.onnx").stat().st_size / 2
    assert any((tmp_path / "parity").iterdir())
    assert (tmp_path / "annotated.mp4").stat().st_size > 1000
