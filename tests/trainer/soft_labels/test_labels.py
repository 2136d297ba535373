"""Soft labels from files: their form, what a network learns from them, and a run that does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from safetensors.numpy import save_file  # noqa: E402

from edgeface.errors import ConfigError, DataError  # noqa: E402
from tests.fixtures import tiny_detector  # noqa: E402, F401
from tests.trainer.test_run import records, smoke  # noqa: E402, F401
from trainer import train  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.data.samples import load_samples  # noqa: E402
from trainer.models import build_net, load_net  # noqa: E402
from trainer.models.program import spec_of  # noqa: E402
from trainer.soft_labels.distill import softened  # noqa: E402
from trainer.soft_labels.labels import SoftLabels, attached, soft_losses, stem  # noqa: E402

LOSS_OF = {"distribution": "distribution", "regression": "l1", "ordinal": "ordinal", "groups": "cross-entropy"}
UNIT = (1.0,) * 5


def sharp(labels: list[int], classes: int) -> np.ndarray:
    """Probabilities that are nearly sure of each label."""
    return np.eye(classes, dtype=np.float32)[labels] * 0.9 + 0.1 / classes


def columns(count: int = 4) -> dict[str, np.ndarray]:
    numbers = list(range(count))
    vectors = np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)
    return {"age": sharp([20 * n for n in numbers], 101), "gender": sharp([n % 2 for n in numbers], 2),
            "race": sharp([n % 5 for n in numbers], 5), "embedding": vectors}  # fmt: skip


def tensors(found: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(column) for name, column in found.items()}


def test_a_file_knows_pictures_in_any_folder_and_format(tmp_path: Path) -> None:
    written = SoftLabels(("1_0_0_2017", "77"), {name: column[:2] for name, column in columns().items()})
    written.save(tmp_path / "soft.safetensors")
    read = SoftLabels.load(tmp_path / "soft.safetensors")
    assert read.names == written.names
    found = read.of(["train/77.jpg", "unknown.png", "a/b/1_0_0_2017.jpg.chip.jpg"])
    for name, column in written.columns.items():
        assert np.isnan(found[name][1]).all()
        assert np.allclose(found[name][[2, 0]], column, atol=1e-3), name  # half precision
    assert stem("a/b/1_0_0_2017.jpg.chip.jpg") == "1_0_0_2017"


@pytest.mark.parametrize(("content", "names", "complaint"), [
    (None, None, "cannot read `{}`, the soft labels: "),
    ({"race": np.zeros((2, 5), np.float32)}, None, "`{}`: expected columns and a list `names` in the metadata"),
    ({"race": np.zeros((2, 7), np.float32)}, ["a", "b"], "of 2 rows and width 101, 2, 5 or any, found race of [2, 7]"),
    ({"gender": np.zeros((3, 2), np.float32)}, ["a", "b"], "found gender of [3, 2]"),
    ({"smile": np.zeros((2, 2), np.float32)}, ["a", "b"], "expected columns age, gender, race or embedding"),
])  # fmt: skip
def test_another_file_is_refused(content: dict | None, names: list[str] | None, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "soft.safetensors"
    if content is not None:
        save_file(content, path, {"names": json.dumps(names)} if names else None)
    with pytest.raises(DataError) as caught:
        SoftLabels.load(path)
    assert complaint.format(path) in str(caught.value)


@pytest.mark.parametrize("head", LOSS_OF)
def test_a_network_that_agrees_has_nothing_to_learn(head: str) -> None:
    config = Config(age_head=head, age_loss=LOSS_OF[head], race_class_weights=UNIT, soft_labels="x", embedding=6)
    soft = tensors(columns())
    said = {task: softened(task, soft[task].log(), Config(), config) for task in config.tasks}
    raw = {task: config.distill_temperature * answer.clamp_min(1e-30).log() for task, answer in said.items()}
    if head == "regression":
        raw["age"] = said["age"].clone()
    if head == "ordinal":
        raw["age"] = said["age"].clamp(1e-6, 1 - 1e-6).logit()
    raw["embedding"] = 3 * soft["embedding"]
    raw = {task: values.requires_grad_() for task, values in raw.items()}
    losses = soft_losses(raw, soft, config)
    assert set(losses) == {"soft", "embedding"} and losses["embedding"] < 1e-5
    torch.stack([*losses.values()]).sum().backward()
    for task, values in raw.items():
        assert values.grad.abs().max() < 1e-3, task
    off = {task: values.detach() + torch.randn(values.shape) for task, values in raw.items()}
    worse = soft_losses(off, soft, config)
    assert worse["soft"] > losses["soft"] and worse["embedding"] > losses["embedding"]


def test_unknown_pictures_do_not_count() -> None:
    config = Config(soft_labels="x", embedding=6, race_class_weights=UNIT)
    soft, random = tensors(columns()), torch.Generator().manual_seed(0)
    logits = {name: torch.randn(column.shape, generator=random) for name, column in soft.items()}
    alone = soft_losses({name: raw[:2] for name, raw in logits.items()}, {k: v[:2] for k, v in soft.items()}, config)
    holes = {name: torch.cat([column[:2], torch.full_like(column[2:], torch.nan)]) for name, column in soft.items()}
    assert soft_losses(logits, holes, config)["soft"].item() == pytest.approx(alone["soft"].item(), rel=1e-6)
    assert soft_losses(logits, holes, config)["embedding"].item() == pytest.approx(alone["embedding"].item(), rel=1e-6)
    nothing = {name: torch.full_like(column, torch.nan) for name, column in soft.items()}
    for raw in logits.values():
        raw.requires_grad_()
    losses = soft_losses(logits, nothing, config)
    assert [loss.item() for loss in losses.values()] == [0, 0]
    torch.stack([*losses.values()]).sum().backward()
    assert all(raw.grad is None or raw.grad.isfinite().all() for raw in logits.values())


def test_a_recipe_has_to_fit_its_file(smoke: Config, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "soft.safetensors"
    samples = load_samples(smoke).samples
    names = tuple(stem(str(name)) for name in samples.name)
    whole = {name: np.resize(column, (len(names), column.shape[1])) for name, column in columns().items()}
    recipe = dataclasses.replace(smoke, soft_labels=str(path))

    SoftLabels(names, {"embedding": whole["embedding"]}).save(path)
    with pytest.raises(ConfigError, match="says nothing of age, gender, race; set `embedding` to learn its vectors"):
        attached(samples, recipe)
    with pytest.raises(ConfigError, match=r"`embedding`: expected the width in `.*`, which has vectors of 6, found 7"):
        attached(samples, dataclasses.replace(recipe, embedding=7))
    SoftLabels(("someone",), {"gender": whole["gender"][:1]}).save(path)
    with pytest.raises(DataError, match=r"knows none of the \d+ training images by name"):
        attached(samples, recipe)
    with pytest.raises(ConfigError, match="`embedding`: expected 0 without `soft_labels`, found 6"):
        dataclasses.replace(smoke, embedding=6)


def test_a_run_learns_from_them_and_ships_without_them(
    smoke: Config,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "soft.safetensors"
    names = tuple(stem(str(name)) for name in load_samples(smoke).samples.name)
    SoftLabels(names, {k: np.resize(v, (len(names), v.shape[1])) for k, v in columns().items()}).save(path)
    config = dataclasses.replace(smoke, soft_labels=str(path), embedding=6, mixup=0.4)
    program = train.fit(config)
    losses = records(config)[-1]["loss"]
    assert losses["soft"] > 0 and losses["embedding"] > 0
    net, _ = load_net(tmp_path / "run" / "last.pt")
    with torch.no_grad():
        logits = net(torch.zeros((1, config.input_size, config.input_size, 3), dtype=torch.uint8))
    assert set(logits) == {"age", "gender", "race"}
    assert program.is_file()
    without = spec_of(smoke, build_net(smoke), {})
    assert spec_of(config, net, {}).training["parameters"] == without.training["parameters"]
    assert "soft labels: age, embedding, gender, race of " in capsys.readouterr().err
