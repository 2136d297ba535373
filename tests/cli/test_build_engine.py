"""``edgeface build-engine``: options become an order, a recipe's keys can be overridden, refusals are one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.artifact import passport_path, sha256_file
from edgeface.passport import load_passport
from tests.cli.conftest import Cli
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
        "percentile",
    )


def test_without_a_name_the_engine_lies_beside_the_model(tiny_model: Path, tmp_path: Path, cli: Cli) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(tiny_model.read_bytes())
    assert cli("build-engine", model, "--precision", "fp32").code == 0
    assert passport_path(tmp_path / "mine.fp32.onnx").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--precision", "int4"), "precision: expected one of fp32, fp16, int8, found `int4`"),
        (("--dla", "0"), "dla: means something for the target `tensorrt` only, found `cpu`"),
        (("--recipe", "none.toml"), "no recipe at `none.toml`: no such file"),
        (("--calibration", "none.toml", "--data", "."), "no calibration set at `none.toml`: no such file"),
        (("--precision", "fp16"), "the gate needs labelled faces: name them with --data, or add --no-gate"),
    ],
)
def test_refusals_are_one_sentence(
    tiny_model: Path, tmp_path: Path, cli: Cli, options: tuple[str, ...], sentence: str
) -> None:
    result = cli("build-engine", tiny_model, *options, "-o", tmp_path / "a.onnx")
    assert (result.code, result.err) == (1, f"error: {sentence}\n")
    assert not (tmp_path / "a.onnx").exists()
