"""Starting is light: neither the package nor the help loads what only work needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgeface.cli.main import app
from tests.conftest import ROOT

HEAVY = (
    "torch",
    "torchvision",
    "onnx",
    "onnxruntime",
    "cv2",
    "av",
    "tensorrt",
    "pycuda",
    "scipy",
    "matplotlib",
)
VERBS = tuple(verb.name for verb in (*app.registered_commands, *app.registered_groups))


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after ``code`` ran in a fresh interpreter."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    return {line.split(".")[0] for line in done.stderr.splitlines()}


def help_of(*arguments: str) -> str:
    call = f"from edgeface.cli.main import app\ntry:\n    app({[*arguments, '--help']!r})\nexcept SystemExit as end:\n"
    return call + "    assert not end.code"


def test_importing_the_package_is_light() -> None:
    loaded = loaded_by("import edgeface")
    assert "edgeface" in loaded
    assert loaded.isdisjoint({*HEAVY, "typer", "rich", "numpy"})


def test_help_is_light() -> None:
    loaded = loaded_by(help_of())
    assert "typer" in loaded
    assert loaded.isdisjoint({*HEAVY, "numpy", "rich"})


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_is_light(verb: str) -> None:
    assert loaded_by(help_of(verb)).isdisjoint(HEAVY)
