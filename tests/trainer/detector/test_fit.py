"""The detector's trainer on the real data: composing, a short run, resuming, exporting, judging."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ConfigError, ExportError  # noqa: E402
from edgeface.inference.detector import FaceDetector  # noqa: E402
from edgeface.spec.metadata import detector_spec  # noqa: E402
from edgeface.types import Faces  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from trainer.detector import __main__ as cli  # noqa: E402
from trainer.detector import fit as train  # noqa: E402
from trainer.detector import sources  # noqa: E402
from trainer.detector import training_images as data  # noqa: E402
from trainer.detector.config import Recipe, load_recipe  # noqa: E402
from trainer.detector.detector_export import export, proof_batches, prove  # noqa: E402
from trainer.detector.fit import fit, load_checkpoint, load_model  # noqa: E402
from trainer.detector.network import Detector  # noqa: E402

SMOKE = ROOT / "trainer" / "detector" / "smoke.toml"


@pytest.fixture(scope="module")
def recipe(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    out = tmp_path_factory.mktemp("detector")
    return load_recipe(str(SMOKE), [f"shared={shared}", f"out={out}", f"onnx={out / 'detector.onnx'}"])


@pytest.fixture(scope="module")
def trained(recipe: Recipe) -> Path:
    return fit(recipe)


def test_pictures_are_reproducible_and_labelled_inside(recipe: Recipe) -> None:
    stream, again = data.Composed(recipe), data.Composed(recipe)
    labelled = 0
    for index in range(12):
        item = stream[index]
        assert item["image"].dtype == torch.uint8 and item["image"].shape == (128, 128, 3)
        assert torch.equal(item["image"], again[index]["image"]) and torch.equal(item["scores"], again[index]["scores"])
        boxes = item["boxes"][item["weights"] > 0]
        labelled += len(boxes)
        assert bool((boxes[:, :2] < 128).all()) and bool((boxes[:, 2:] > 0).all()), "a labelled face lies off the image"
    assert labelled > 0
    assert not torch.equal(stream[0]["image"], stream[1]["image"])


def test_each_picture_is_shown_twice(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_BLOCK", 3)
    stream, late = data.Composed(recipe), data.Composed(recipe)
    shown = [stream[index]["image"] for index in range(9)]
    assert all(torch.equal(shown[index], shown[index + 3]) for index in range(3))
    assert not any(torch.equal(shown[index], shown[index + 6]) for index in range(3))
    assert torch.equal(late[4]["image"], shown[4]), "a run resumed in a second showing sees other images"


def test_resuming_after_an_interruption_repeats_an_uninterrupted_run(
    recipe: Recipe, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = dataclasses.replace(recipe, out=str(tmp_path))

    def interrupt(path: Path, row: dict[str, float]) -> None:
        if row["step"] == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "_log", interrupt)
        fit(halves)
    assert load_checkpoint(tmp_path / train.CHECKPOINT)["step"] == 3
    whole, resumed = load_checkpoint(trained), load_checkpoint(fit(halves, resume=True))
    assert resumed["step"] == whole["step"] == recipe.steps
    for name, tensor in whole["averaged"].items():
        assert torch.equal(tensor, resumed["averaged"][name]), name


def test_another_network_cannot_resume(recipe: Recipe, trained: Path) -> None:
    with pytest.raises(ConfigError, match="has stem = 8, the recipe 16"):
        fit(dataclasses.replace(recipe, stem=16), resume=True)


def test_export_proves_itself_and_runs_in_the_pipeline(recipe: Recipe, trained: Path) -> None:
    path = export(dataclasses.replace(recipe, score_threshold=0.45))
    spec = detector_spec(path)
    assert spec is not None and spec.score_threshold == 0.45 and spec.strides == (8, 16, 32)
    assert spec.training["steps"] == recipe.steps
    with FaceDetector(path, threads=1) as detect:
        assert isinstance(detect(np.zeros((50, 70, 3), np.uint8)), Faces)


def test_proof_fails_for_other_weights(recipe: Recipe, trained: Path) -> None:
    path = export(recipe)
    model, _ = load_model(trained)
    assert prove(model, path, proof_batches(recipe)) < 2e-3
    torch.manual_seed(5)
    with pytest.raises(ExportError, match="differs by .* allowed is"):
        prove(Detector(recipe).eval(), path, proof_batches(recipe))


def test_command_line_says_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["export", "--set", f"out={tmp_path}"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: no checkpoint at") and captured.out == ""


def test_command_line_trains_the_smoke_recipe(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [f"shared={shared}", f"out={tmp_path}", "steps=2"]
    assert cli.main(["fit", str(SMOKE), *(part for setting in settings for part in ("--set", setting))]) == 0
    assert (tmp_path / train.CHECKPOINT).is_file()


def test_splits_do_not_overlap(shared: Path) -> None:
    splits = {split: set(sources.scenes(shared, split).names) for split in ("train", "validation", "test")}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 1000
    assert 150 < len(splits["test"]) < 250
    held_out = {path.name for split in ("test", "validation") for path in sources.clips(shared, split)}
    assert held_out == {path.name for path in (shared / "media").glob("*.mp4")}


def test_no_test_or_validation_fold_is_among_the_chips(shared: Path) -> None:
    utkface, fairface = sources.chips(shared)
    digits = [name.rsplit("_", 1)[1].split(".")[0] for name in utkface.names]
    assert min(_fold(text) for text in digits if text.isdigit()) == 3
    assert min(_fold("train/" + name.split(".")[0]) for name in fairface.names) == 3
    assert len(utkface) > 15000 and len(fairface) > 20000


def _fold(text: str) -> int:
    return int(hashlib.sha1(text.encode()).hexdigest(), 16) % 10
