"""``edgeface predict --json`` as a process of its own, which can be halted between images and looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.script import ROOT
from edgeface.errors import BackendError


class PredictProcess:
    """``edgeface predict FOLDER --json``, halted whenever no one waits for its answers.

    Halting (SIGSTOP) lets something else be measured in between on the same processor. ``seconds`` is the time it was
    not halted. Use it as a context manager.
    """

    def __init__(self, folder: Path, threads: int, *arguments: str) -> None:
        command = [sys.executable, "-m", "edgeface.cli.main", "predict", str(folder), "--json"]
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [*command, "--threads", str(threads), *arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )
        os.kill(self._process.pid, signal.SIGSTOP)
        self.seconds = 0.0

    def answers(self, count: int) -> tuple[float, list[dict[str, Any]]]:
        """Let it run until it has answered ``count`` more images: the seconds that took, and its lines of JSON.

        What it has begun of the next ones counts as well, and is missing next time. Raises ``BackendError`` where it
        ends before.
        """
        assert self._process.stdout is not None
        started = self._continue()
        lines = [self._process.stdout.readline() for _ in range(count)]
        os.kill(self._process.pid, signal.SIGSTOP)
        seconds = self._took(started)
        if not lines[-1]:
            raise BackendError(f"edgeface predict ended early: {self._said()}")
        return seconds, [json.loads(line) for line in lines]

    def finish(self) -> float:
        """Let it end: the seconds that took. Raises ``BackendError`` where it fails or has more to say."""
        assert self._process.stdout is not None
        started = self._continue()
        rest = self._process.stdout.read()
        code = self._process.wait()
        seconds = self._took(started)
        if code or rest:
            raise BackendError(
                f"edgeface predict ended with code {code} and {len(rest)} characters more: {self._said()}"
            )
        return seconds

    def memory_mb(self) -> float:
        """What it holds in memory now, in megabytes (VmRSS)."""
        return self._status_mb("VmRSS")

    def peak_mb(self) -> float:
        """The most it ever held, in megabytes (VmHWM)."""
        return self._status_mb("VmHWM")

    def _status_mb(self, key: str) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{key}:"))

    def _continue(self) -> float:
        started = time.perf_counter()
        os.kill(self._process.pid, signal.SIGCONT)
        return started

    def _took(self, started: float) -> float:
        seconds = time.perf_counter() - started
        self.seconds += seconds
        return seconds

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().strip()[-500:] or "without a word"

    def __enter__(self) -> PredictProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
