"""``edgeface info``: contracts of attribute networks and detectors, ours and others'."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edgeface.common.files import sha256_file
from tests.cli.conftest import Cli
from tests.conftest import needs_shared
from tests.fixtures import SIZE, tiny_spec, write_tiny_model


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


def test_a_trained_program(cli: Cli, tmp_path: Path) -> None:
    program = tmp_path / "model.pt2"
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("model/extra/edgeface.spec", tiny_spec().to_json())
    facts = cli("info", program, "--json").json()
    assert (facts["kind"], facts["spec"]["name"]) == ("trained program", "tiny")
    assert facts["sha256"] == sha256_file(program)


def test_programs_that_are_none(cli: Cli, tmp_path: Path) -> None:
    text, bare = tmp_path / "text.pt2", tmp_path / "bare.pt2"
    text.write_text("no program")
    with zipfile.ZipFile(bare, "w") as archive:
        archive.writestr("model/version", "1")
    for path, message in [
        (text, "is not a torch.export program or is damaged (File is not a zip file); train or copy it again"),
        (bare, "has no `edgeface.spec` inside, so nothing says how to feed it; train it again"),
        (tmp_path / "none.pt2", f"cannot read model `{tmp_path / 'none.pt2'}`: No such file or directory"),
    ]:
        result = cli("info", path)
        assert result.code == 1
        assert message in result.err


def test_a_model_without_a_spec_that_is_no_detector_either(cli: Cli, tmp_path: Path) -> None:
    result = cli("info", write_tiny_model(tmp_path / "bare.onnx", ""))
    assert result.code == 1
    assert "is no face detector that edgeface knows: its outputs are age ('?',)" in result.err
