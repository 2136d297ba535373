"""``benchmarks.studies.artefact_study``: what it asks, what it says of what is absent, its tables, and a short run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("onnx", reason="the extra `dev` is not installed")

from benchmarks.studies import artefact_study as artefacts
from benchmarks.studies import artefacts_made
from benchmarks.studies.artefacts_made import Absent, Artefact, opencv_answers
from edgeface.common.files import sha256_file
from edgeface.errors import ConfigError
from edgeface.evaluation.datasets import find_faces
from edgeface.export.opencv_variant import write_opencv_variant
from edgeface.inference.detector import shipped_model
from edgeface.parity import answers_of
from edgeface.spec.metadata import model_spec
from tests.conftest import needs_torch
from tests.fixtures import tiny_model  # noqa: F401


def test_opencv_answers_as_onnx_runtime_does(tmp_path: Path) -> None:
    model, variant = shipped_model("attributes.onnx"), tmp_path / "variant.onnx"
    write_opencv_variant(model, variant)
    spec = model_spec(model)
    crops = np.random.default_rng(3).integers(0, 256, (3, spec.input_size, spec.input_size, 3), np.uint8)
    wanted, found = answers_of(model, crops), opencv_answers(variant, spec, crops)
    for name in ("age", "age_std", "gender", "race"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=2e-3)


@needs_torch
def test_a_network_of_other_weights_is_refused(tiny_model: Path) -> None:  # noqa: F811
    wanted = model_spec(shipped_model("attributes.onnx"))
    with pytest.raises(ConfigError, match="has the weights none, expected those of the ONNX file, "):
        artefacts_made._of_pytorch(tiny_model, wanted)


def test_what_is_absent_says_why(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:  # noqa: F811
    spec = model_spec(tiny_model)
    assert artefacts_made._of_pytorch(None, spec) == Absent(
        "PyTorch", "not named: add --trained with the model.pt2 that it was exported from"
    )
    monkeypatch.setattr(artefacts_made, "gpu", lambda: None)
    assert artefacts_made._of_tensorrt([tiny_model]) == [Absent("TensorRT", "no GPU")]
    monkeypatch.setattr(artefacts_made, "gpu", lambda: "a GPU")
    (row,) = artefacts_made._of_tensorrt([])
    assert isinstance(row, Absent) and "no engine named: add --engine" in row.reason
    (row,) = artefacts_made._of_tensorrt([tiny_model])
    assert isinstance(row, Artefact) and row.name == "TensorRT (tiny.onnx)"


def loss(mean: float, n: int = 80) -> dict[str, float]:
    return {"n": n, "mean": mean, "low": mean - 0.5, "high": mean + 0.5}


def a_row(name: str, worst: float) -> dict[str, Any]:
    units = {"age": "years", "gender": "points", "race": "points"}
    group = {"axis": "race", "group": "Black", "head": "gender", "loss": loss(worst)}
    deep = {"axis": "gender_race_age", "group": "female Black 20-29", "head": "gender", "loss": loss(9)}
    return {
        "name": name,
        "bytes": 1_730_000,
        "simulated": name == "s8s8",
        "heads": {head: {"unit": unit, "loss": loss(-0.001)} for head, unit in units.items()},
        "changes": {"age": {"largest": 0.5}, "gender": {"flips": 0.01}, "race": {"flips": 0.02}},
        "worst_group": {"points": group},
        "groups": [group, deep, {**group, "head": "age", "loss": loss(0.25)}],
    }


def test_the_tables() -> None:
    rows = [a_row("u8s8", 1.5), a_row("s8s8", -1.0), {"name": "TensorRT", "absent": "no GPU"}]
    written = artefacts.tables({"reference_bytes": 6_270_000, "faces": 2427, "rows": rows})
    overview, groups = (written[name].splitlines() for name in ("artefacts", "artefacts_groups"))
    assert "against ONNX FP32 (6.27 MB), 2,427 faces" in overview[0]
    assert overview[2] == (
        "| u8s8 | 1.73 MB | +0.00 (-0.50 to +0.50) y | +0.00 (-0.50 to +0.50) points | +0.00 (-0.50 to +0.50) points "
        "| 0.5 y | 1.0% / 2.0% | gender of Black: +1.50 (+1.00 to +2.00) points, 80 faces |"
    )
    assert overview[3].startswith("| s8s8 by float simulation |") and overview[3].endswith("| none loses |")
    assert overview[4] == "| TensorRT |  |  |  |  |  |  | no GPU |"
    assert groups[0] == "| loss in age (y) / gender / race (points) | u8s8 | s8s8 |"
    assert groups[2:] == ["| race: Black | +0.25 / +1.50 / – | +0.25 / -1.00 / – |"]


def test_a_short_run(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(artefacts, "QUICK_FACES", 60)
    saved = tmp_path / "artefacts.json"
    data = shared / "data" / "utkface"
    assert artefacts.main(["--quick", "--data", str(data), "--save", str(saved)]) == 0
    text = saved.read_text(encoding="utf-8")
    results = json.loads(text)
    assert results["reference_sha256"] == sha256_file(shipped_model("attributes.onnx")) and results["faces"] == 60
    rows = {row["name"].split(" (")[0]: row for row in results["rows"]}
    assert set(rows) >= {"PyTorch", "ONNX FP16", "ONNX INT8 u8s8", "ONNX INT8 s8s8", "OpenCV variant", "TensorRT"}
    assert rows["OpenCV variant"]["changes"]["age"]["largest"] < 0.01
    assert rows["ONNX INT8 u8s8"]["bytes"] < 0.4 * results["reference_bytes"]
    assert str(tmp_path) not in text and "/tmp" not in text
    assert artefacts.tables(results)["artefacts"] in capsys.readouterr().out


def test_folds_that_are_not_there_are_an_error(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = find_faces([shared / "data" / "utkface" / "utkface-fold3.zip"])[0]
    assert found.faces
    assert artefacts.main(["--quick", "--data", str(found.path)]) == 1
    assert "error: no image of fold 1 in" in capsys.readouterr().err
