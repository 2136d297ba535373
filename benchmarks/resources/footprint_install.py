"""A fresh virtual environment with edgeface in it, and how large its packages are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.script import ROOT
from edgeface.errors import ConfigError

CHEAP_EXTRAS = ("quantize", "live")
"""Those that are installed as well; ``train`` brings several GB on Linux."""
_NOT_OURS = {"pip", "setuptools", "wheel"}
_SIZES = """
import importlib.metadata as metadata, json
sizes = {}
for dist in metadata.distributions():
    files = [dist.locate_file(file) for file in dist.files or ()]
    sizes[dist.metadata["Name"].lower()] = sum(file.stat().st_size for file in files if file.is_file())
print(json.dumps(sizes))
"""


@dataclass(frozen=True)
class Python:
    """An interpreter that has edgeface, and the folder that has to be on its path (``None``: installed)."""

    executable: Path
    path: Path | None

    @property
    def environment(self) -> dict[str, str]:
        return {} if self.path is None else {"PYTHONPATH": str(self.path)}


HERE = Python(Path(sys.executable), ROOT)


def install(folder: Path) -> tuple[Python, dict[str, object]]:
    """Make ``folder`` a virtual environment, install this checkout, then each cheap extra; sizes in bytes by package.

    Raises ``ConfigError`` where pip cannot.
    """
    _call("making a virtual environment", [sys.executable, "-m", "venv", str(folder)])
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    constraints = ["-c", str(ROOT / "constraints.txt")]
    wheels = folder / "wheels"
    _call("building the wheel", [*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)])
    (wheel,) = wheels.glob("*.whl")
    _call("installing edgeface", [*pip, "install", *constraints, str(wheel)])
    core = sizes_of(python)
    extras = {}
    for extra in CHEAP_EXTRAS:
        before = sizes_of(python)
        _call(f"installing edgeface[{extra}]", [*pip, "install", *constraints, f"{wheel}[{extra}]"])
        extras[extra] = added(before, sizes_of(python))
    return Python(python, None), {"wheel_bytes": wheel.stat().st_size, "core": core, "extras": extras}


def sizes_of(python: Path) -> dict[str, int]:
    """Bytes of the files of every package that ``python`` has, but for those that every environment has."""
    done = _call("reading the packages' sizes", [str(python), "-c", _SIZES])
    found: dict[str, int] = json.loads(done)
    return {name: size for name, size in sorted(found.items(), key=lambda item: -item[1]) if name not in _NOT_OURS}


def added(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Packages that are new, with their sizes."""
    return {name: size for name, size in after.items() if name not in before}


def _call(what: str, command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ConfigError(f"{what} failed: {said[-1] if said else 'without a word'}; --no-install leaves this out")
    return done.stdout
