"""A skip that CI must not have is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, forbidden_skip


@pytest.mark.parametrize(
    ("reason", "required", "missing"),
    [
        ("Skipped: the data folder ../shared is absent", "shared,torch", "shared"),
        ("Skipped: torch is not installed (extra `train`)", "torch", "torch"),
        ("Skipped: the data folder ../shared is absent", "torch", None),
        ("Skipped: no Mosquitto here", "shared,torch", None),
        ("Skipped: the data folder ../shared is absent", "", None),
    ],
)
def test_which_skips_are_failures(reason: str, required: str, missing: str | None) -> None:
    assert forbidden_skip(reason, required) == missing


def run_pytest(test: Path, required: str) -> subprocess.CompletedProcess[str]:
    """A run of one file under the rules of ``tests/conftest.py``, with ``EDGEFACE_REQUIRE`` as given."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", str(test)]
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment = {**own, "PYTHONPATH": str(ROOT), "EDGEFACE_REQUIRE": required}
    command.append(f"--rootdir={test.parent}")
    return subprocess.run(command, env=environment, cwd=test.parent, capture_output=True, text=True)


SKIP = "pytest.skip('torch is not installed (extra `train`)', allow_module_level=True)"


@pytest.mark.parametrize("text", [f"def test_it():\n    {SKIP}\n", f"{SKIP}\n\ndef test_it():\n    pass\n"])
@pytest.mark.parametrize("required", ["torch", ""])
def test_a_run_fails_where_a_required_test_skips(tmp_path: Path, required: str, text: str) -> None:
    test = tmp_path / "test_one.py"
    test.write_text(f"import pytest\n\n{text}\ndef test_other():\n    pass\n")
    done = run_pytest(test, required)
    # 5: no test was run, because the whole file skipped
    assert done.returncode in ((1, 2) if required else (0, 5)), done.stdout + done.stderr


def test_skips_are_listed_by_their_reason(tmp_path: Path) -> None:
    test = tmp_path / "test_some.py"
    skips = "".join(f"def test_{n}():\n    pytest.skip('no {'GPU' if n else 'net'} here')\n\n" for n in range(4))
    test.write_text(f"import pytest\n\n{skips}")
    lines = run_pytest(test, "").stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if "skipped, by reason" in line)
    assert lines[first + 1 : first + 3] == ["   3 no GPU here", "   1 no net here"]
