"""Contrastive pretraining: which faces are pairs, what the loss says of them, and that the backbone learns them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

import torch.nn.functional as F  # noqa: E402

from edgeface.errors import ConfigError  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.data.samples import Samples  # noqa: E402
from trainer.log import Log  # noqa: E402
from trainer.models import build_net  # noqa: E402
from trainer.objective.losses import Targets  # noqa: E402
from trainer.pretrain import Pairs, age_pairs, check, contrastive_loss, pretrain_backbone, view_pairs  # noqa: E402

CONFIG = Config(
    input_size=32, backbone="plain_bn", widths=(8, 16), depths=(1, 1), pool="mean", projector=(16, 8), threads=1,
    pretrain="age-contrast", pretrain_epochs=6, batch=16, learning_rate=0.01, optimizer="adam", weight_decay=0.0,
    rotation_deg=0.0, scale=0.0, shift=0.0, colour=0.0, degrade=0.0, grayscale=0.0, erase=0.0, amp="off",
)  # fmt: skip


def targets(ages: list[float], spans: list[tuple[int, int]]) -> Targets:
    low, high = (torch.tensor(ends) for ends in zip(*spans))
    none = torch.full((len(ages),), -1)
    return Targets(torch.tensor(ages), low, high, none, none)


def test_pairs_are_of_one_age_group_and_others_weigh_by_years() -> None:
    nan, no = math.nan, (-1, -1)
    labels = targets([20.0, 24.0, 30.0, 60.0, nan, nan, nan], [no, no, no, no, (15, 19), (20, 29), no])
    pairs = age_pairs(labels, torch.arange(7), Config())
    assert [torch.nonzero(row).flatten().tolist() for row in pairs.positive] == [
        [0, 1, 4], [0, 1, 4], [2], [3], [0, 1, 4], [], []
    ]  # fmt: skip
    assert pairs.weight[0].tolist() == pytest.approx([0, 0, 10 / 25, 40 / 25, 0, 0, 0])
    assert pairs.weight[4].tolist() == pytest.approx([0, 0, 13 / 28, 43 / 28, 0, 0, 0])  # the interval's middle is 17
    assert not pairs.weight[5:].any() and not pairs.weight[:, 5:].any()


def test_views_of_a_picture_are_pairs() -> None:
    pairs = view_pairs(targets([math.nan] * 4, [(-1, -1)] * 4), torch.tensor([0, 1, 0, 1]), Config())
    assert pairs.positive.tolist() == [[True, False] * 2, [False, True] * 2] * 2
    assert torch.equal(pairs.weight, (~pairs.positive).float())


def test_the_loss_is_infonce() -> None:
    torch.manual_seed(0)
    embedded = F.normalize(torch.randn(4, 3), dim=1)
    positive = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
    weight = torch.rand(4, 4) * ~positive
    powers = torch.exp(embedded @ embedded.T / 0.5)
    expected = [-math.log(powers[a, b] / (powers[a, b] + (weight[a] * powers[a]).sum())) for a, b in ((0, 1), (1, 0))]
    found = contrastive_loss(embedded, Pairs(positive, weight), 0.5)
    assert found.item() == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_a_batch_without_pairs_or_without_others_is_finite() -> None:
    embedded = F.normalize(torch.randn(3, 4), dim=1).requires_grad_()
    own, every = torch.eye(3, dtype=torch.bool), torch.ones(3, 3, dtype=torch.bool)
    for pairs in (Pairs(own, torch.zeros(3, 3)), Pairs(every, torch.zeros(3, 3))):
        loss = contrastive_loss(embedded, pairs, 0.07)
        loss.backward()
        assert loss.item() == pytest.approx(0, abs=1e-6) and torch.isfinite(embedded.grad).all()


def faces(count: int = 64) -> Samples:
    """Old faces are bright, young ones dark; each has a tint of its own."""
    random = np.random.default_rng(0)
    age = np.where(np.arange(count) % 2, 50.0, 10.0).astype(np.float32)
    noise, tint = random.integers(0, 30, (count, 32, 32, 3)), random.integers(0, 70, (count, 1, 1, 3))
    pixels = noise + tint + (age * 3)[:, None, None, None]
    values = {
        "pixels": pixels.astype(np.uint8),
        "age": age,
        "fold": np.full(count, 3),
        "found": np.ones(count, bool),
    }
    for item in dataclasses.fields(Samples):
        if item.name not in values and item.default is dataclasses.MISSING:
            values[item.name] = np.full(count, 0 if item.name == "source" else -1)
    return Samples(**values)


@pytest.mark.parametrize("pretext", ["age-contrast", "view-contrast"])
def test_the_backbone_learns_what_belongs_together(
    pretext: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, samples = dataclasses.replace(CONFIG, pretrain=pretext), faces()
    torch.manual_seed(0)
    net = build_net(config)
    heads = {name: value.clone() for name, value in net.state_dict().items() if name.split(".")[0] in config.tasks}
    rounds = []
    for _ in range(2):
        torch.manual_seed(0)
        net = build_net(config)
        with Log(tmp_path, resume=False) as log:
            pretrain_backbone(config, net, samples, torch.device("cpu"), log)
        rounds.append(net.state_dict())
    assert all(torch.equal(rounds[0][name], rounds[1][name]) for name in rounds[0])
    assert all(torch.equal(net.state_dict()[name], value) for name, value in heads.items())
    printed = "".join(capsys.readouterr())
    losses = [float(line.split()[-1]) for line in printed.splitlines() if pretext in line][:6]
    assert losses[-1] < 0.9 * losses[0]
    if pretext == "age-contrast":
        with torch.no_grad():
            pooled = F.normalize(net.eval().pooled(torch.from_numpy(samples.pixels)), dim=1)
        similar = pooled @ pooled.T
        young = samples.age < 30
        assert similar[young][:, young].mean() > similar[young][:, ~young].mean() + 0.3


def test_a_pretraining_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="`pretrain`: expected age-contrast or view-contrast, or nothing, found moco"):
        check(Config(pretrain="moco"))
    check(Config())
