"""The C++ part builds without a warning, its own tests pass, also under the sanitizers, and others can build on it."""

from __future__ import annotations

import os
from pathlib import Path

from tests.conftest import ROOT
from tests.cpp.conftest import CppBuild, build, configure, run

_QUICK = "leaks|valgrind"


def test_its_own_tests_pass(cpp: CppBuild) -> None:
    done = run(["ctest", "--test-dir", cpp.folder, "--output-on-failure", "--label-exclude", _QUICK])
    assert b"100% tests passed" in done.stdout


def test_sanitizers_find_nothing(cpp: CppBuild) -> None:
    folder = ROOT / "build" / "cpp-sanitize"
    configure(folder, "-DEDGEFACE_SANITIZE=ON", "-DEDGEFACE_BUILD_DEMO=OFF", "-DCMAKE_BUILD_TYPE=Debug")
    build(folder)
    options = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    command = ["ctest", "--test-dir", folder, "--output-on-failure", "--label-exclude", f"{_QUICK}|install"]
    assert b"100% tests passed" in run(command, env=options).stdout


def test_a_wrong_command_line_is_one_sentence_and_exit_code_2(cpp: CppBuild, tmp_path: Path) -> None:
    import subprocess

    cases = {
        (): "error: expected a SOURCE; see --help",
        ("a.mp4", "b.mp4"): "error: expected one SOURCE, found `a.mp4` and `b.mp4`",
        ("a.mp4", "--threads", "two"): "error: --threads: expected a number, found `two`",
        ("a.mp4", "--max-frames", "0"): "error: --max-frames: expected a whole number of 1 or more, found `0`",
        ("a.mp4", "--sink", "x"): "error: no option --sink; see --help",
        ("a.mp4", "--jsonl"): "error: --jsonl: expected a value after it",
    }
    for words, sentence in cases.items():
        done = subprocess.run([cpp.demo, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stderr.strip()) == (2, sentence)
    done = subprocess.run([cpp.demo, "nowhere.mp4"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: no source at `nowhere.mp4`: no such file or directory\n")
