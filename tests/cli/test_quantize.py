"""``edgeface quantize`` and ``edgeface info --tensorrt``, as a user calls them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeface.calibration import CalibrationFile, CalibrationSet, write_set
from edgeface.common.files import sha256_file
from edgeface.inference.detector import shipped_model
from edgeface.spec.metadata import model_spec
from tests.calibration.people import stamp
from tests.cli.conftest import Cli
from tests.fixtures import convolutions, write_picture

pytestmark = pytest.mark.usefixtures("patterns_as_faces")

pytest.importorskip("onnx", reason="the extra `quantize` is not installed")

MODEL = shipped_model("attributes.onnx")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("EDGEFACE_CACHE", str(cache))
    return cache


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Six images with names like UTKFace's."""
    random = np.random.default_rng(0)
    folder = tmp_path / "faces"
    for number in range(6):
        coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        write_picture(
            folder / f"{20 + number}_{number % 2}_{number % 5}_{stamp(3, number)}.png",
            coarse.repeat(16, 0).repeat(16, 1),
        )
    return folder


@pytest.fixture
def calibration(faces: Path, tmp_path: Path) -> Path:
    files = tuple(CalibrationFile(path.name, sha256_file(path), "male White 20-29") for path in sorted(faces.iterdir()))
    listed = CalibrationSet("six", "made", "none", (3,), 1, len(files), "drawn by hand", files)
    write_set(listed, tmp_path / "six.toml")
    return tmp_path / "six.toml"


def test_int8_with_layers_kept_in_float(cli: Cli, faces: Path, calibration: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "int8.onnx", tmp_path / "again.onnx"
    common = ["--precision", "int8", "--target", "tensorrt", "--calibration", calibration]
    result = cli("quantize", MODEL, *common, "--data", faces, "-o", out, "--method", "minmax")
    assert result.code == 0, result.err  # a slow machine tells of its progress
    assert result.out.startswith(f"wrote {out} (int8, s8s8 for tensorrt, ")
    assert "% of attributes.onnx)" in result.out
    precision = model_spec(out).precision
    assert precision is not None
    assert (precision.set_name, precision.method) == ("six", "minmax")
    layer = convolutions(MODEL)[-5]
    kept = ["--keep", layer, "--json"]
    second = cli("quantize", MODEL, *common, "--data", faces, "-o", again, "--method", "minmax", *kept)
    facts = second.json()
    assert facts["keep_float"] == [layer]
    assert facts["sha256"] == sha256_file(again)
    assert cli("info", out, "--tensorrt").code == 0


def test_fp16_needs_no_pictures(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "fp16.onnx"
    result = cli("quantize", MODEL, "--precision", "fp16", "--target", "tensorrt", "-o", out)
    assert result.code == 0
    assert result.out.startswith(f"wrote {out} (fp16, for tensorrt, ")
    assert cli("info", out, "--tensorrt").out == f"{out}: 0 errors, 0 warnings by TensorRT's rules\n"
    assert "precision:\n    precision: fp16\n    flavour: fp16" in cli("info", out).out


def test_bad_input_is_one_sentence(cli: Cli, faces: Path, calibration: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    fp16 = tmp_path / "fp16.onnx"
    cli("quantize", MODEL, "--precision", "fp16", "-o", fp16)
    int8 = ["--precision", "int8", "-o", out]
    full = [*int8, "--calibration", calibration, "--data", faces]
    for arguments, message in [
        ([MODEL, *int8], "int8 needs images to calibrate with: name a set with --calibration and their --data"),
        ([MODEL, *int8, "--calibration", calibration], "the images of calibration set `six` are needed: say where"),
        ([MODEL, "--precision", "int4", "-o", out], "no precision `int4`: expected one of int8, fp16"),
        ([MODEL, *full, "--target", "tpu"], "no target `tpu`: expected one of auto, cpu, tensorrt"),
        ([MODEL, *full, "--method", "max"], "no calibration method `max`: expected one of minmax"),
        ([MODEL, *full, "--keep", "node_Conv_4"], "no layer `node_Conv_4` to keep in float; the nearest name is"),
        ([fp16, *full], "fp16.onnx` is already quantised; start from the float model it was made from"),
        ([MODEL, "--precision", "fp16", "-o", MODEL], "would overwrite the input"),
        ([tmp_path / "none.onnx", *full], "No such file or directory"),
    ]:
        result = cli("quantize", *arguments)
        assert result.code == 1, arguments
        last = result.err.splitlines()[-1]
        assert last.startswith("error: "), result.err
        assert message in last
        assert "Traceback" not in result.err
        assert not out.exists()


def test_pictures_of_other_data_are_refused(cli: Cli, faces: Path, calibration: Path, tmp_path: Path) -> None:
    victim = sorted(faces.iterdir())[0]
    write_picture(victim)
    arguments = [MODEL, "--precision", "int8", "--calibration", calibration, "--data", faces, "-o", tmp_path / "o.onnx"]
    result = cli("quantize", *arguments)
    assert result.code == 1
    assert victim.name in result.err
    victim.unlink()
    result = cli("quantize", *arguments)
    assert result.code == 1
    assert victim.name in result.err
    assert not (tmp_path / "o.onnx").exists()


def test_what_tensorrt_would_refuse(cli: Cli, faces: Path, calibration: Path, tmp_path: Path) -> None:
    out = tmp_path / "u8s8.onnx"
    cli(
        "quantize",
        MODEL,
        "--precision",
        "int8",
        "--target",
        "cpu-x86",
        "--calibration",
        calibration,
        "--data",
        faces,
        "-o",
        out,
    )
    result = cli("info", out, "--tensorrt")
    assert result.code == 1
    assert (
        "error uint8-qdq: q0: QuantizeLinear to unsigned integers, TensorRT knows int8 only\n  https://" in result.out
    )
    facts = cli("info", out, "--tensorrt", "--json").json()
    assert facts["errors"] == sum(finding["level"] == "error" for finding in facts["findings"]) > 0
    assert {"rule", "node", "sentence", "level", "link"} == set(facts["findings"][0])
