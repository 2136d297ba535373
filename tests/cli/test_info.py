"""``edgeface info``: contracts of attribute networks and detectors, ours and others'."""

from __future__ import annotations

from pathlib import Path

from edgeface.artifact import sha256_file
from tests.cli.conftest import Cli
from tests.conftest import needs_shared
from tests.fixtures import SIZE, tiny_spec


def test_an_attribute_network(cli: Cli, tiny_model: Path) -> None:
    facts = cli("info", tiny_model, "--json").json()
    assert facts["kind"] == "attribute network"
    assert facts["sha256"] == sha256_file(tiny_model)
    assert facts["bytes"] == tiny_model.stat().st_size
    assert facts["inputs"] == [{"name": "crops", "dtype": "uint8", "shape": [None, SIZE, SIZE, 3]}]
    assert [output["name"] for output in facts["outputs"]] == ["age", "age_std", "gender", "race"]
    assert facts["spec"]["metrics"] == {"age_mae": 12.5}
    assert [head["name"] for head in facts["spec"]["heads"]] == [head.name for head in tiny_spec().heads]


def test_for_people(cli: Cli, tiny_model: Path, tiny_detector: Path) -> None:
    out = cli("info", tiny_model).out
    assert "kind: attribute network\n" in out
    assert "  name crops, dtype uint8, shape [None, 32, 32, 3]\n" in out
    assert "    name gender, kind classification, labels ['male', 'female'], tolerance 0.001\n" in out
    assert "    age_mae: 12.5\n" in out
    assert "weights_sha256" not in out, "empty entries are left out"
    assert "kind: face detector (edgeface)\n" in cli("info", tiny_detector).out


@needs_shared
def test_detectors_of_other_families(cli: Cli, shared: Path) -> None:
    kinds = {path.name: cli("info", path, "--json").json() for path in (shared / "models").glob("*.onnx")}
    assert kinds["face_detection_yunet_2026may.onnx"]["kind"] == "face detector (YuNet)"
    assert kinds["ultraface_rfb_320.onnx"]["kind"] == "face detector (UltraFace)"
    assert all(facts["spec"] is None for facts in kinds.values())
