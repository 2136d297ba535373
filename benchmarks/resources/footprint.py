"""What edgeface takes: megabytes to install, seconds to start and to the first answer, memory, weights.

    python -m benchmarks.resources.footprint [--trained model.pt2] [--no-install] [--save
    benchmarks/results/footprint.json]

Installs this checkout into a fresh virtual environment by pip from the package index and starts the commands
there, in turns. ``--trained`` names the network in PyTorch, whose start and memory are measured beside ours on
the same portrait, in this environment. Times are from starting a process to its first line of output.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.resources.footprint_install import HERE, Python, install, sizes_of
from benchmarks.script import ROOT, Results, Tables, markdown, run_script
from edgeface.common.console import progress
from edgeface.common.files import sha256_file
from edgeface.common.machine import fingerprint, version
from edgeface.errors import BackendError
from edgeface.imaging.portraits import portrait_paths
from edgeface.inference.detector import shipped_model

PROBE = ROOT / "benchmarks" / "resources" / "footprint_probe.py"
TORCH = ("torch", "torchvision")
_MB = 1e6


@dataclass(frozen=True)
class Start:
    """A command, and the interpreter that runs it; ``memory`` where its line of output says what it holds."""

    name: str
    python: Python
    arguments: tuple[str, ...]
    memory: bool = False

    def once(self) -> tuple[float, str]:
        """Seconds to the first line, and the line. Raises ``BackendError`` where the command fails."""
        environment = {**os.environ, **self.python.environment}
        command = [str(self.python.executable), *self.arguments]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
            started = time.perf_counter()
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=tempfile.gettempdir()
            ) as process:
                assert process.stdout is not None
                line = process.stdout.readline()
                seconds = time.perf_counter() - started
                process.stdout.read()
            errors.seek(0)
            if process.returncode or not line:
                raise BackendError(
                    f"`{self.name}` failed with code {process.returncode}: {errors.read()[-300:].strip()}"
                )
        return seconds, line


def starts(python: Python, trained: Path | None) -> list[Start]:
    """All that is started: the interpreter alone, ours step by step, and PyTorch where a network is named."""
    portrait = str(portrait_paths()[0])
    cli = ("-m", "edgeface.cli.main")
    found = [
        Start("python alone", python, ("-c", "print()")),
        Start("import edgeface", python, ("-c", "import edgeface; print()")),
        Start("edgeface --help", python, (*cli, "--help")),
        Start("edgeface predict, first answer", python, (*cli, "predict", portrait, "--json")),
        Start("FaceAnalyzer, first answer", python, (str(PROBE), "edgeface", portrait), memory=True),
    ]
    if trained is not None:
        torch = ("torch", portrait, str(trained.resolve()))
        found.append(Start("PyTorch eager, attributes only", HERE, (str(PROBE), *torch), memory=True))
    return found


def measure_starts(commands: Sequence[Start], rounds: int) -> list[dict[str, Any]]:
    """Every command ``rounds`` times, in turns, after once for the disk's cache."""
    seconds: dict[str, list[float]] = {command.name: [] for command in commands}
    lines: dict[str, str] = {}
    with progress("starting") as report:
        for number in range(rounds + 1):
            for command in commands:
                took, lines[command.name] = command.once()
                if number:
                    seconds[command.name].append(took)
            report(number, rounds)
    return [_figures(command, seconds[command.name], lines[command.name]) for command in commands]


def _figures(command: Start, seconds: Sequence[float], line: str) -> dict[str, Any]:
    median, low, high = (round(float(value), 4) for value in (np.median(seconds), min(seconds), max(seconds)))
    memory = {name: value for name, value in json.loads(line).items() if name != "age"} if command.memory else None
    return {"name": command.name, "median_s": median, "min_s": low, "max_s": high, "memory": memory}


def measure(options: argparse.Namespace) -> Results:
    """Install, start, weigh."""
    with tempfile.TemporaryDirectory(prefix="edgeface-footprint-") as folder:
        python, installed = (HERE, None) if options.no_install else install(Path(folder) / "venv")
        rows = measure_starts(starts(python, options.trained), 1 if options.quick else options.rounds)
    here = sizes_of(HERE.executable)
    models = {name: shipped_model(f"{name}.onnx") for name in ("detector", "attributes")}
    return {
        "install": installed,
        "torch_bytes": {name: here[name] for name in TORCH if name in here},
        "torch": version("torch"),
        "starts": rows,
        "weights": {name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for name, path in models.items()},
        "machine": fingerprint(),
    }


def tables(results: Results) -> Tables:
    """``footprint``: times and memory; ``footprint_install``: megabytes by package."""
    first = results["starts"][0]["median_s"]
    columns = ("", "seconds (least to most)", "beyond python", "memory: imported", "models open", "at rest", "peak")
    lines = [
        (
            row["name"],
            f"{row['median_s']:.2f} ({row['min_s']:.2f} to {row['max_s']:.2f})",
            f"{row['median_s'] - first:.2f}",
            *_memory(row["memory"]),
        )
        for row in results["starts"]
    ]
    return {"footprint": markdown(columns, lines), "footprint_install": _sizes(results)}


def _memory(memory: Mapping[str, float] | None) -> tuple[str, ...]:
    if memory is None:
        return ("", "", "", "")
    return tuple(f"{memory[name]:.0f} MB" for name in ("imported_mb", "opened_mb", "rest_mb", "peak_mb"))


def _sizes(results: Results) -> str:
    rows = [(f"{name}.onnx, in edgeface", _mb(weights["bytes"])) for name, weights in results["weights"].items()]
    installed = results["install"]
    if installed is not None:
        core = installed["core"]
        largest = [(name, _mb(size)) for name, size in core.items() if size > 0.01 * sum(core.values())]
        rest = sum(core.values()) - sum(core[name] for name, _ in largest)
        rows = [("wheel", _mb(installed["wheel_bytes"])), *rows, *largest, ("all others", _mb(rest))]
        rows.append(("**installed, core**", f"**{_mb(sum(core.values()))}**"))
        rows += [(f"extra `{name}` adds", _mb(sum(sizes.values()))) for name, sizes in installed["extras"].items()]
    if results["torch_bytes"]:
        label = f"{' and '.join(results['torch_bytes'])} {results['torch']}, of the extra `train`"
        rows.append((label, _mb(sum(results["torch_bytes"].values()))))
    return markdown(("", "size"), rows)


def _mb(size: float) -> str:
    return f"{size / _MB:,.1f} MB"


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trained", type=Path, help="the network as model.pt2 or checkpoint.pt, for PyTorch")
    parser.add_argument("--no-install", action="store_true", help="measure in this environment, install nothing")
    parser.add_argument("--rounds", type=int, default=10, help="how often each command is started (--quick: once)")


def main(arguments: Sequence[str] | None = None) -> int:
    return run_script(__doc__, measure, tables, arguments, _options)


if __name__ == "__main__":
    raise SystemExit(main())
