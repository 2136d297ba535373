from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeface.common.files import atomic_path, sha256_file
from edgeface.errors import ArtifactError, SinkError, SpecError
from edgeface.spec.metadata import detector_spec, model_spec, onnx_metadata
from edgeface.spec.model import DETECTOR_KEY, MODEL_KEY, DetectorSpec
from tests.spec.test_model import SPEC

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra `dev`)")


def write_onnx(path: Path, metadata: dict[str, str]) -> Path:
    helper = onnx.helper
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3])
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 3])
    model = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out]))
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_metadata_is_read_as_onnx_writes_it(tmp_path: Path) -> None:
    metadata = {"a": "1", "ünïcode": "größe " * 1000, "empty": ""}
    assert onnx_metadata(write_onnx(tmp_path / "m.onnx", metadata)) == metadata


def test_specs_are_found_by_key(tmp_path: Path) -> None:
    detector = DetectorSpec("d")
    path = write_onnx(tmp_path / "m.onnx", {MODEL_KEY: SPEC.to_json()})
    assert model_spec(path) == SPEC
    assert detector_spec(path) is None
    assert detector_spec(write_onnx(tmp_path / "d.onnx", {DETECTOR_KEY: detector.to_json()})) == detector


@pytest.mark.parametrize(
    ("metadata", "hint"), [({}, "edgeface export"), ({DETECTOR_KEY: "{}"}, "face detector, not an attribute network")]
)
def test_a_model_without_our_spec_is_refused(tmp_path: Path, metadata: dict[str, str], hint: str) -> None:
    with pytest.raises(SpecError, match=rf"m.onnx` has no `{MODEL_KEY}` .*{hint}"):
        model_spec(write_onnx(tmp_path / "m.onnx", metadata))


@pytest.mark.parametrize("content", [b"hello, I am text", b"\xff" * 40, b"\x07\x01\x01", b"\x72\xff\xff\xff\x7f"])
def test_what_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="is not an ONNX model or is damaged"):
        onnx_metadata(path)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", {MODEL_KEY: SPEC.to_json()})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="damaged"):
        model_spec(path)


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot read model .*none.onnx`: No such file"):
        onnx_metadata(tmp_path / "none.onnx")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ArtifactError, match=r"empty.onnx` is empty"):
        onnx_metadata(tmp_path / "empty.onnx")


def test_atomic_path_replaces_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out.txt"
    with atomic_path(target) as path:
        path.write_text("one")
        assert not target.exists() and path.suffix == ".txt"
    with pytest.raises(RuntimeError), atomic_path(target) as path:
        path.write_text("two")
        raise RuntimeError
    assert target.read_text() == "one"
    assert os.listdir(target.parent) == ["out.txt"]


def test_atomic_path_names_what_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"cannot write `.*file/out.txt`"), atomic_path(tmp_path / "file" / "out.txt"):
        pass


def test_a_full_disk_is_a_sink_error(tmp_path: Path) -> None:
    with (
        pytest.raises(SinkError, match="No space left"),
        atomic_path(tmp_path / "out"),
        open("/dev/full", "wb") as full,
    ):
        full.write(b"x" * 100000)


def test_sha256_of_known_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_file(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
