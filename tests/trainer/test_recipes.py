"""Every recipe in small: it trains, exports, and the exported file answers and explains as the checkpoint does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.explain.explainer import Explainer  # noqa: E402
from edgeface.export.onnx_export import proof_crops  # noqa: E402
from edgeface.inference.attributes import AttributeEstimator  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.fixtures import write_tiny_detector  # noqa: E402
from tests.trainer.people import make_fairface, make_people  # noqa: E402
from trainer.config import Config, load_config  # noqa: E402
from trainer.explain import explain  # noqa: E402
from trainer.models import AttributeNet, load_net  # noqa: E402
from trainer.models.heads import Answer  # noqa: E402
from trainer.train import export_checkpoint, fit  # noqa: E402

FOLDER = ROOT / "trainer" / "recipes"
ELSEWHERE = {"smoke", "compact"}
"""The first has its tests in test_run; the second is small with other folds and name, as a test here makes sure."""
RECIPES = sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem not in ELSEWHERE)


class Chips(NamedTuple):
    """Faces made here: settings that put them in the place of a recipe's data."""

    settings: list[str]
    fairface: Path

    def recipe(self, name: str, out: Path, *settings: str) -> Config:
        path = FOLDER / f"{name}.toml"
        faces = f'fairface=["{self.fairface}"]' if load_config(path).fairface else "fairface=[]"
        return load_config(path, [*self.settings, faces, f"out={out}", *settings])


class Trained(NamedTuple):
    config: Config
    net: AttributeNet
    onnx: Path


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    """Runs set torch's thread count; other tests get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Chips:
    folder = tmp_path_factory.mktemp("recipes")
    faces, labels = make_fairface(folder / "fairface")
    settings = [
        f'utkface=["{make_people(folder / "utkface")}"]',
        f"fairface_labels={labels}",
        f"detector={write_tiny_detector(folder / 'detector.onnx')}",
        f"cache={folder / 'cache'}",
        "threads=1",
        "smoke=true",
    ]
    return Chips(settings, faces)


@pytest.fixture(scope="module", params=RECIPES)
def trained(
    request: pytest.FixtureRequest, chips: Chips, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trained]:
    """A recipe's run, ended, and its ONNX file."""
    out = tmp_path_factory.mktemp(request.param)
    config = chips.recipe(request.param, out)
    export_checkpoint(fit(config), out / "model.onnx")
    yield Trained(config, load_net(out / "last.pt")[0], out / "model.onnx")
    for path in out.rglob("*.*"):
        path.unlink()  # a transformer's checkpoint is larger than some temporary folders


def test_the_file_answers_as_the_checkpoint_does(trained: Trained) -> None:
    crops = proof_crops(trained.config.input_size)
    with torch.no_grad():
        expected = Answer(trained.net)(torch.from_numpy(crops))
    with AttributeEstimator(trained.onnx, threads=1) as estimator:
        found, spec = estimator.from_crops(crops), estimator.spec
    assert spec.name == trained.config.name
    assert {head.name.removesuffix("_std") for head in spec.heads} == set(trained.config.tasks)
    for head, want in zip(spec.heads, expected):
        assert getattr(found, head.name) == pytest.approx(want.numpy(), abs=head.tolerance), head.name


def test_both_explain(trained: Trained) -> None:
    crop = proof_crops(trained.config.input_size)[5]
    expected = explain(trained.net, crop)
    assert set(expected) == set(trained.config.tasks)
    if trained.config.backbone == "vit_b_16":
        assert {found.method for found in expected.values()} == {"roll-out"}
        return
    with Explainer(trained.onnx, threads=1) as explainer:
        found = explainer(crop)
    for head, want in expected.items():
        assert found[head].values.sum(axis=(1, 2)) + found[head].bias == pytest.approx(found[head].answers, abs=0.1)
        if want.values.shape == found[head].values.shape:  # a map of one place is no map: the file's is one stage up
            largest = max(float(np.abs(want.evidence()).max()), 1e-3)
            assert found[head].evidence() == pytest.approx(want.evidence(), abs=0.02 * largest)


def test_age_groups_other_variants(chips: Chips, tmp_path: Path) -> None:
    """The decoder as a second task, contrastive pretraining, one learning rate; a small network, for time."""
    small = ("backbone=compact", "widths=[16,32]", "depths=[1,1]", "normalisation=symmetric")
    other = ("decoder=true", "pretrain=age-contrast", "backbone_rate=1.0")
    config = chips.recipe("age-groups", tmp_path, *small, *other)
    assert fit(config).is_file()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert '"mask"' in lines[-1]


@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_looks_at_the_test_folds(name: str) -> None:
    config = load_config(FOLDER / f"{name}.toml")
    assert not {0, 1} & {*config.train_folds, *config.validation_folds}
    assert config.validation_folds == (2,)
    assert f"trainer/recipes/{name}.toml" in (FOLDER / f"{name}.toml").read_text(), "its head names its command"
