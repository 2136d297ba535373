"""``edgeface build-engine``: options become an order, a recipe's keys can be overridden, refusals are one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from edgeface.calibration import draw, write_set
from edgeface.common.files import sha256_file
from edgeface.evaluation.datasets import find_faces
from edgeface.spec.metadata import passport_path
from edgeface.spec.passport import load_passport
from tests.calibration.people import add_person
from tests.cli.conftest import Cli, command
from tests.conftest import ROOT

pytest.importorskip("onnx", reason="the extra `quantize` is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_CACHE", str(tmp_path / "cache"))


def test_an_engine_and_its_passport(tiny_model: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "tiny.fp32.onnx"
    options = ("build-engine", tiny_model, "--target", "cpu", "--precision", "fp32", "-o", out)
    result = cli(*options)
    assert result.code == 0, result.err
    assert result.out == (
        f"wrote {out} (0.00 MB, sha256 {sha256_file(out)}) and its passport\n"
        "gate: not judged (it is the float model itself)\n"
    )
    assert cli(*options).out == f"{out} is up to date\n"
    again = cli(*options, "--json").json()
    assert (again["path"], again["fresh"]) == (str(out), False)
    assert again["passport"]["command"] == f"edgeface build-engine {tiny_model} --target cpu --precision fp32 -o {out}"


def test_options_override_the_recipe(tiny_model: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "tiny.onnx"
    recipe = ROOT / "engines" / "cpu-int8.toml"
    result = cli("build-engine", tiny_model, "--recipe", recipe, "--precision", "fp32", "--max-batch", 4, "-o", out)
    assert result.code == 0, result.err
    passport = load_passport(out)
    assert passport is not None
    assert (passport.recipe["precision"], passport.recipe["max_batch"], passport.recipe["method"]) == (
        "fp32",
        4,
        "entropy",
    )


def test_without_a_name_the_engine_lies_beside_the_model(tiny_model: Path, tmp_path: Path, cli: Cli) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(tiny_model.read_bytes())
    assert cli("build-engine", model, "--precision", "fp32").code == 0
    assert passport_path(tmp_path / "mine.fp32.onnx").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--precision", "int4"), "`precision`: expected one of fp32, fp16, int8, found `int4`"),
        (("--dla", "0"), "`dla`: means something for the target `tensorrt` only, found `cpu`"),
        (("--recipe", "none.toml"), "no recipe at `none.toml`: no such file"),
        (
            ("--calibration", "none.toml", "--data", "."),
            "no calibration set at `none.toml`: no such file; make one with: edgeface calibration make",
        ),
        (("--precision", "fp16"), "the gate needs labelled faces: name them with --data, or add --no-gate"),
    ],
)
def test_refusals_are_one_sentence(
    tiny_model: Path, tmp_path: Path, cli: Cli, options: tuple[str, ...], sentence: str
) -> None:
    result = cli("build-engine", tiny_model, *options, "-o", tmp_path / "a.onnx")
    assert (result.code, result.err) == (1, f"error: {sentence}\n")
    assert not (tmp_path / "a.onnx").exists()


def test_sigterm_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """Stopped while it reads the set's images: a second file of an image's name is a pipe that no one writes to."""
    data, out = tmp_path / "people", tmp_path / "out" / "tiny.int8.onnx"
    name = add_person(data, (30, 0, 0), 3, 0)
    write_set(draw(find_faces([data]), 1, 1), tmp_path / "set.toml")
    (data / "again").mkdir()
    os.mkfifo(data / "again" / name)
    arguments = command("build-engine", tiny_model, "--calibration", tmp_path / "set.toml", "--data", data, "-o", out)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=ROOT) as child:
        deadline = time.monotonic() + 300
        while not (out.parent.is_dir() and list(out.parent.iterdir())):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=300)
    assert (child.returncode, err) == (130, "stopped\n")
    assert list(out.parent.iterdir()) == []
