"""The GPU's own tests of the pipeline, run on the emulated driver: what they ask for can be had."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT
from tests.cuda import emulated


def test_the_gpu_tests_pass_on_the_emulated_driver() -> None:
    emulated.library_path()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.cuda.as_gpu", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, "tests/gpu/test_pipeline.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout and "failed" not in done.stdout
