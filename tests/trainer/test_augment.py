"""Augmentation keeps what the network relies on: shape, type, range, and the same answer for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from trainer.augment import Augment, LowResolution  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.vision import v2  # noqa: E402

STILL = Config(input_size=48, rotation_deg=0.0, scale=0.0, shift=0.0, colour=0.0, degrade=0.0, grayscale=0.0, erase=0.0)


def crops(count: int = 21, size: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("cooldown", [False, True])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_shape_and_type_stay(cooldown: bool, strength: float) -> None:
    config = Config(input_size=48, degrade=strength, grayscale=strength, erase=strength)
    before = crops()
    kept = before.copy()
    out = Augment(config, cooldown)(before)
    assert out.shape == before.shape and out.dtype == torch.uint8
    assert np.array_equal(before, kept), "the cache must not change"


def test_the_same_seed_gives_the_same_crops() -> None:
    augment = Augment(Config(input_size=48))
    torch.manual_seed(3)
    first = augment(crops())
    torch.manual_seed(3)
    assert torch.equal(first, augment(crops()))
    assert not torch.equal(first, augment(crops()))


def test_with_everything_off_a_crop_is_itself_or_mirrored() -> None:
    before = crops()
    out = Augment(STILL)(before).numpy()
    same = [np.array_equal(a, b) for a, b in zip(out, before)]
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(out, before)]
    assert all(s or m for s, m in zip(same, mirrored))
    assert any(same) and any(mirrored)


def test_jitter_stays_within_its_bounds() -> None:
    config = Config(input_size=48, rotation_deg=10.0, scale=0.1, shift=0.05)
    matrices = Augment(config)._jitter(crops(500))
    linear = matrices[:, :, :2]
    scale = np.sqrt(np.abs(np.linalg.det(linear)))
    assert scale.min() >= np.exp(-0.1) - 1e-9 and scale.max() <= np.exp(0.1) + 1e-9
    moved = matrices @ [24, 24, 1] - 24
    assert np.abs(moved).max() <= 0.05 * 48 + 1e-9
    angles = np.degrees(np.arctan2(-linear[:, 0, 1], linear[:, 1, 1]))
    assert np.abs(angles).max() <= 10 + 1e-9 and np.abs(angles).max() > 8


def test_erasing_covers_a_part_only() -> None:
    config = Config(**{**STILL.to_dict(), "erase": 1.0})
    black = np.zeros((8, 48, 48, 3), np.uint8)
    covered = (Augment(config)(black).numpy() != 0).mean()
    assert 0.01 < covered < 0.3


def test_low_resolution_loses_detail_only() -> None:
    noise = torch.from_numpy(crops(4)).permute(0, 3, 1, 2)
    out = LowResolution()(noise)
    assert out.shape == noise.shape and out.dtype == torch.uint8
    assert out.float().std() < 0.8 * noise.float().std()
    assert out.float().mean().item() == pytest.approx(noise.float().mean().item(), abs=2)


def test_torchvision_is_usable_here() -> None:
    assert v2.functional.horizontal_flip(torch.tensor([[[1, 2]]])).tolist() == [[[2, 1]]]
