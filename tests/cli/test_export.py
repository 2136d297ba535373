"""``edgeface export``: a program becomes an ONNX file that the other verbs take; refusals leave nothing behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeface.common.files import sha256_file
from edgeface.common.install import install_extra
from edgeface.spec.metadata import model_spec
from edgeface.spec.model import MODEL_KEY
from tests.cli.conftest import Cli
from tests.conftest import needs_torch
from tests.fixtures import SIZE, tiny_spec, write_picture


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained program in miniature: the mean colour decides."""
    torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

    class Net(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.age, self.gender, self.race = (torch.nn.Linear(3, classes) for classes in (1, 2, 5))

        def forward(self, crops):  # type: ignore[no-untyped-def]
            planes = crops.permute(0, 3, 1, 2).float() / 255
            colour = torch.nn.functional.avg_pool2d(planes, SIZE).flatten(1)
            age = self.age(colour).flatten()
            return age, 5 + age, self.gender(colour).softmax(dim=1), self.race(colour).softmax(dim=1)

    crops = torch.zeros((2, SIZE, SIZE, 3), dtype=torch.uint8)
    batch = torch.export.Dim("N", min=1, max=4096)
    exported = torch.export.export(Net().eval(), (crops,), dynamic_shapes=({0: batch},))
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    torch.export.save(exported, path, extra_files={MODEL_KEY: tiny_spec().to_json()})
    return path


@needs_torch
def test_a_program_becomes_a_model(program: Path, tmp_path: Path, cli: Cli, tiny_detector: Path) -> None:
    model = tmp_path / "out" / "model.onnx"
    result = cli("export", program, "-o", model)
    assert result.code == 0, result.err
    assert result.out.startswith(f"wrote {model} (0.")
    assert sha256_file(model) in result.out
    assert model_spec(model) == tiny_spec()
    assert cli("info", program, "--json").json()["spec"] == cli("info", model, "--json").json()["spec"]
    picture = write_picture(tmp_path / "a.png")
    answer = cli("predict", picture, "--json", "--model", model, "--detector", tiny_detector)
    assert len(answer.json()["faces"]) == 1


@needs_torch
def test_refusals_write_nothing(tmp_path: Path, cli: Cli) -> None:
    text = tmp_path / "text.pt2"
    text.write_text("no program")
    for source, message in [
        (tmp_path / "none.pt2", f"no program at `{tmp_path / 'none.pt2'}`: expected a model.pt2"),
        (text, f"`{text}` is not a torch.export program (.pt2) or is damaged; train it again"),
    ]:
        result = cli("export", source, "-o", tmp_path / "model.onnx")
        assert result.code == 1
        assert message in result.err
        assert not (tmp_path / "model.onnx").exists()


def test_without_the_extra(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails as where it is not installed
    result = cli("export", tmp_path / "model.pt2", "-o", tmp_path / "model.onnx")
    assert result.code == 1
    assert f"needs `torch`, which is not installed: {install_extra('train', 'torch')}" in result.err
