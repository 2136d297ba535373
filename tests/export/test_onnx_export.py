"""Export: a program becomes ONNX that answers alike, and each way it can fail is named in order."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.errors import ArtifactError, ExportError, MissingDependencyError, SpecError
from edgeface.export import onnx_export as export
from edgeface.runtime.open import open_backend
from edgeface.spec.metadata import model_spec
from edgeface.spec.model import MODEL_KEY
from tests.conftest import needs_torch
from tests.fixtures import SIZE, tiny_spec


def answers(count: int = 2, **changes: Any) -> dict[str, np.ndarray]:
    shapes = {"age": (count,), "age_std": (count,), "gender": (count, 2), "race": (count, 5)}
    return {**{name: np.full(shape, 0.25, np.float32) for name, shape in shapes.items()}, **changes}


def save(path: Path, net: Callable[..., Any], spec_json: str | None = None, outputs: int = 4) -> Path:
    """A program of ``net(mean colour [N, 3])``, cut to its first ``outputs``."""
    import torch

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, bias=False)
            self.norm = torch.nn.BatchNorm2d(4)
            self.gender, self.race = torch.nn.Linear(4, 2), torch.nn.Linear(4, 5)

        def forward(self, crops):  # type: ignore[no-untyped-def]
            planes = crops.permute(0, 3, 1, 2).float() / 255
            x = torch.relu(self.norm(self.conv(planes))).mean(dim=(2, 3))
            whole = (x.sum(dim=1), 5 + x[:, 0], self.gender(x).softmax(dim=1), self.race(x).softmax(dim=1))
            return net(whole)[:outputs]

    torch.manual_seed(0)
    crops = torch.zeros((2, SIZE, SIZE, 3), dtype=torch.uint8)
    shapes = ({0: torch.export.Dim("N", min=1, max=4096)},)
    program = torch.export.export(Net().eval(), (crops,), dynamic_shapes=shapes)
    extra = {} if spec_json == "" else {MODEL_KEY: spec_json or tiny_spec().to_json()}
    content = io.BytesIO()
    torch.export.save(program, content, extra_files=extra)
    path.write_bytes(content.getvalue())
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
    return save(tmp_path_factory.mktemp("program") / "model.pt2", lambda whole: whole)


@needs_torch
def test_the_graph_is_small_plain_and_takes_any_batch(program: Path, tmp_path: Path) -> None:
    import onnx

    assert export.export_onnx(program, tmp_path / "model.onnx") == tiny_spec()
    model = onnx.load(tmp_path / "model.onnx")
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
    kinds = [node.op_type for node in model.graph.node]
    assert "BatchNormalization" not in kinds and kinds.count("Cast") == 1 and kinds.count("Conv") == 1
    assert str(Path.cwd()).encode() not in (tmp_path / "model.onnx").read_bytes(), "no paths of the exporting machine"
    assert model_spec(tmp_path / "model.onnx") == tiny_spec()
    with open_backend(tmp_path / "model.onnx", threads=1) as backend:
        assert [(info.name, info.shape) for info in backend.inputs] == [("crops", (None, SIZE, SIZE, 3))]
        for count in (1, 5):
            assert backend.infer({"crops": np.zeros((count, SIZE, SIZE, 3), np.uint8)})["race"].shape == (count, 5)


@needs_torch
def test_a_program_without_or_with_a_broken_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="carries no `edgeface.spec`"):
        export.export_onnx(save(tmp_path / "a.pt2", lambda whole: whole, spec_json=""), tmp_path / "a.onnx")
    with pytest.raises(SpecError, match="schema 99"):
        newer = json.dumps({**json.loads(tiny_spec().to_json()), "schema_version": 99})
        export.export_onnx(save(tmp_path / "b.pt2", lambda whole: whole, spec_json=newer), tmp_path / "b.onnx")
    assert not list(tmp_path.glob("*.onnx"))


@needs_torch
def test_a_program_with_other_outputs_than_its_spec(tmp_path: Path) -> None:
    path = save(tmp_path / "model.pt2", lambda whole: whole, outputs=3)
    with pytest.raises(ExportError):
        export.export_onnx(path, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == [path], "nothing half-written"


@needs_torch
def test_answers_beyond_the_tolerance_write_nothing(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export._program_answers

    def shifted(*given: Any) -> dict[str, np.ndarray]:
        found = real(*given)
        return {**found, "age": found["age"] + 0.05}

    monkeypatch.setattr(export, "_program_answers", shifted)
    with pytest.raises(ExportError, match="output `age` differs by up to 0.05 years, its tolerance is 0.02"):
        export.export_onnx(program, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_names_then_shapes_then_values() -> None:
    spec, want = tiny_spec(), answers()
    export.compare(want, answers(), spec)
    wrong_all = {"age": np.zeros(3, np.float32)}
    with pytest.raises(ExportError, match="output names differ: expected age, age_std, gender, race, found age"):
        export.compare(want, wrong_all, spec)
    wrong_shape = answers(age=np.full(2, 9, np.float32), race=np.zeros((2, 7), np.float32))
    with pytest.raises(ExportError, match=r"output `race`: expected shape \(2, 5\), found \(2, 7\)"):
        export.compare(want, wrong_shape, spec)
    with pytest.raises(ExportError, match="output `gender` differs by up to 0.75, its tolerance is 0.001"):
        export.compare(want, answers(gender=np.ones((2, 2), np.float32)), spec)
    with pytest.raises(ExportError, match="output `age` differs by up to nan years"):
        export.compare(want, answers(age=np.array([0.25, np.nan], np.float32)), spec)


def test_each_head_has_its_own_tolerance() -> None:
    close = np.full(2, 0.26, np.float32)  # 0.01: fine for years, not for a probability
    export.compare(answers(), answers(age=close), tiny_spec())
    with pytest.raises(ExportError, match="`race`"):
        export.compare(answers(), answers(race=np.full((2, 5), 0.26, np.float32)), tiny_spec())


@needs_torch
@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_files_that_are_no_program(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"is not a torch.export program \(.pt2\) or is damaged"):
        export.load_program(tmp_path / "a.pt2")
    with pytest.raises(ArtifactError, match="no program at `.*none.pt2`"):
        export.load_program(tmp_path / "none.pt2")
    with pytest.raises(ArtifactError, match="cannot read program"):
        export.load_program(tmp_path)


class Bomb:
    """Unpickling this raises the alarm."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _alarm, ()


def _alarm() -> None:
    raise AssertionError("the archive's code was run")


def rewritten(program: Path, target: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(target, "w") as archive:
        top = source.namelist()[0].partition("/")[0]
        for name in source.namelist():
            archive.writestr(name, change(name.partition("/")[2], source.read(name)))
        for name, content in extra.items():
            archive.writestr(f"{top}/{name}", content)
    return target


def _pickled_weight(name: str, content: bytes) -> bytes:
    if not name.endswith("weights_config.json"):
        return content
    config = json.loads(content)
    next(iter(config["config"].values()))["use_pickle"] = True
    return json.dumps(config).encode()


def _opaque_constant(name: str, content: bytes) -> bytes:
    if not name.endswith("constants_config.json"):
        return content
    return json.dumps({"config": {"x": {"path_name": "opaque_obj_0", "use_pickle": False}}}).encode()


def _pickled_inputs(name: str, content: bytes) -> bytes:
    return pickle.dumps(Bomb()) if name.startswith("data/sample_inputs") else content


@needs_torch
@pytest.mark.parametrize(
    ("change", "extra", "message"),
    [
        (_pickled_weight, {}, "holds more than a graph and tensors"),
        (_opaque_constant, {}, "holds more than a graph and tensors"),
        (_pickled_inputs, {}, "holds pickled objects in its sample inputs"),
        (lambda _, content: content, {"data/aotinductor/model/code.so": b"\x7fELF"}, "holds more than a graph"),
    ],
)
def test_archives_that_would_run_code_are_refused(
    change: Callable[[str, bytes], bytes], extra: dict[str, bytes], message: str, program: Path, tmp_path: Path
) -> None:
    path = rewritten(program, tmp_path / "evil.pt2", change, extra)
    with pytest.raises(ArtifactError, match=message):
        export.export_onnx(path, tmp_path / "model.onnx")


@needs_torch
def test_a_damaged_graph_is_one_sentence(program: Path, tmp_path: Path) -> None:
    def cut(name: str, content: bytes) -> bytes:
        return content[: len(content) // 2] if name.startswith("models/") else content

    path = rewritten(program, tmp_path / "cut.pt2", cut, {})
    with pytest.raises(ArtifactError, match="is damaged or of another torch") as raised:
        export.load_program(path)
    assert "\n" not in str(raised.value)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"needs `torch`.*pip install -e '.*\[train\]'"):
        export.export_onnx(tmp_path / "model.pt2", tmp_path / "model.onnx")


def test_proof_crops_are_noise_and_smooth_pictures() -> None:
    crops = export.proof_crops(40)
    assert crops.shape == (8, 40, 40, 3) and crops.dtype == np.uint8
    steps = np.abs(np.diff(crops.astype(int), axis=1)).mean(axis=(1, 2, 3))
    assert steps[:4].min() > 60 and steps[4:].max() < 25
    assert np.array_equal(crops, export.proof_crops(40))
