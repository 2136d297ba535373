"""Mixed crops: what is mixed in, and that labels count by the share that is seen."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from trainer.augmentation.mixing import mixed  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.objective.losses import Targets  # noqa: E402

COUNT = 8


def batch() -> tuple[torch.Tensor, Targets]:
    """Crops of one grey level each, twice the age that labels them."""
    level = torch.arange(COUNT, dtype=torch.uint8) * 20
    crops = level[:, None, None, None].expand(COUNT, 16, 16, 3).clone()
    nothing = torch.full((COUNT,), -1)
    return crops, Targets(level.float() / 2, nothing, nothing, torch.arange(COUNT) % 2, torch.arange(COUNT) % 5)


def test_without_mixing_a_batch_is_itself() -> None:
    crops, targets = batch()
    out, labels = mixed(crops, targets, Config(), torch.Generator())
    assert out is crops and labels == [(targets, 1.0)]


@pytest.mark.parametrize("setting", ["mixup", "cutmix"])
def test_labels_count_by_their_share_of_the_crop(setting: str) -> None:
    crops, targets = batch()
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        out, labels = mixed(crops, targets, Config(**{setting: 1.0}), generator)
        assert out.shape == crops.shape and out.dtype == torch.uint8
        assert sum(weight for _, weight in labels) == pytest.approx(1)
        ages = sum(weight * found.age for found, weight in labels)
        assert torch.allclose(out.float().mean((1, 2, 3)) / 2, ages, atol=0.3)
        assert sorted(labels[1][0].age.tolist()) == targets.age.tolist()


def test_the_generator_decides() -> None:
    crops, targets = batch()
    config = Config(mixup=0.4, cutmix=1.0)
    outs = [mixed(crops, targets, config, torch.Generator().manual_seed(seed))[0] for seed in (5, 5, 6)]
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])


def test_a_fourth_channel_becomes_the_mask() -> None:
    crops, targets = batch()
    mask = torch.full((COUNT, 16, 16, 1), 255, dtype=torch.uint8)
    out, labels = mixed(torch.cat([crops, mask], 3), targets, Config(decoder=True), torch.Generator())
    ((found, weight),) = labels
    assert torch.equal(out, crops) and weight == 1 and torch.equal(found.mask, mask[..., 0])
    assert math.isfinite(float(found.age.sum()))
