"""Augmentation keeps what the network relies on: shape, type, range, and the same answer for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

import torch.nn.functional as F  # noqa: E402

from trainer.augment import Augment, look  # noqa: E402
from trainer.config import Config  # noqa: E402

STILL = Config(input_size=48, rotation_deg=0.0, scale=0.0, shift=0.0, colour=0.0, degrade=0.0, grayscale=0.0, erase=0.0)


def crops(count: int = 21, size: int = 48, channels: int = 3) -> torch.Tensor:
    random = np.random.default_rng(0)
    return torch.from_numpy(random.integers(0, 256, (count, size, size, channels), dtype=np.uint8))


def only(**settings: float) -> Augment:
    """Nothing happens to a crop but what ``settings`` ask for (and a flip)."""
    return Augment(Config(**{**STILL.to_dict(), **settings}))


def unflipped(augment: Augment, count: int) -> torch.Tensor:
    chances = augment.chances(count, torch.Generator().manual_seed(0))
    chances[:, 0] = 0.9
    return chances


@pytest.mark.parametrize("cooldown", [False, True])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_shape_and_type_stay(cooldown: bool, strength: float) -> None:
    config = Config(input_size=48, degrade=strength, grayscale=strength, erase=strength)
    before = crops()
    kept = before.clone()
    out = Augment(config, cooldown)(before)
    assert out.shape == before.shape and out.dtype == torch.uint8
    assert torch.equal(before, kept), "the cache must not change"


def test_a_crop_depends_on_its_own_chances_only() -> None:
    augment = Augment(Config(input_size=48))
    before, chances = crops(), augment.chances(21, torch.Generator().manual_seed(3))
    whole = augment(before, chances)
    assert torch.equal(whole, augment(before, chances))
    assert torch.equal(whole[5:9], augment(before[5:9], chances[5:9])), "processes share a batch by rows"
    assert not torch.equal(whole, augment(before))


def test_with_everything_off_a_crop_is_itself_or_mirrored() -> None:
    before = crops()
    out = Augment(STILL)(before)
    same = [torch.equal(a, b) for a, b in zip(out, before)]
    mirrored = [torch.equal(a, b.flip(1)) for a, b in zip(out, before)]
    assert all(s or m for s, m in zip(same, mirrored))
    assert any(same) and any(mirrored)


def test_jitter_stays_within_its_bounds() -> None:
    theta = Augment(Config(input_size=48, rotation_deg=10.0, scale=0.1, shift=0.05)).jitter(torch.rand(500, 5))
    linear = theta[:, :, :2].double()
    scale = torch.linalg.det(linear).abs().sqrt()
    assert scale.min() >= np.exp(-0.1) - 1e-6 and scale.max() <= np.exp(0.1) + 1e-6
    assert theta[:, :, 2].abs().max() <= 2 * 0.05 + 1e-6, "the crop is 2 wide"
    angles = torch.rad2deg(torch.atan2(linear[:, 1, 0] * linear.det().sign(), linear[:, 1, 1]))
    assert 8 < angles.abs().max() <= 10 + 1e-4


def test_both_ways_to_look_agree() -> None:
    theta = Augment(Config(input_size=48, rotation_deg=20.0)).jitter(torch.rand(16, 5))
    before = F.avg_pool2d(crops(16).permute(0, 3, 1, 2).float(), 5, 1, 2).round()  # pictures, not noise
    grid = F.affine_grid(theta, [16, 3, 48, 48], align_corners=False)
    expected = F.grid_sample(before, grid, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
    found = look(before.permute(0, 2, 3, 1).to(torch.uint8).contiguous(), theta).float()
    assert (found - expected).abs().max() <= 3  # OpenCV's weights are multiples of 1/32


def test_colours_change_as_brightness_contrast_and_saturation_do() -> None:
    augment, before = only(colour=0.5), crops(4)
    chances = unflipped(augment, 4)
    chances[:, 5:10] = 0.5  # factors of 1
    for row, column in enumerate((5, 6, 7)):
        chances[row, column] = 0.1  # a factor of 0.6
    chances[3, 8] = 0.9  # this one is left alone
    out = augment(before, chances).float()
    pixels = before.float()
    grey = pixels @ torch.tensor([0.299, 0.587, 0.114])
    expected = [
        pixels[0] * 0.6,
        grey[1].mean() + (pixels[1] - grey[1].mean()) * 0.6,
        grey[2][..., None] + (pixels[2] - grey[2][..., None]) * 0.6,
        pixels[3],
    ]
    for found, wanted in zip(out, expected):
        assert (found - wanted.clamp(0, 255)).abs().max() <= 1


def test_grey_crops_have_equal_channels() -> None:
    out = only(grayscale=1.0)(crops()).int()
    assert (out.amax(3) - out.amin(3)).max() <= 1


def test_erasing_covers_a_part_only() -> None:
    covered = (only(erase=1.0)(torch.zeros(64, 48, 48, 3, dtype=torch.uint8)) != 0).float().mean((1, 2, 3))
    assert covered.min() > 0.01 and covered.max() < 0.25
    assert covered.std() > 0.01, "every crop has its own rectangle"


def test_degraded_crops_lose_detail_only() -> None:
    augment, noise = only(degrade=1.0), crops(8)
    out = augment(noise, unflipped(augment, 8)).float()
    assert out.std() < 0.6 * noise.float().std()
    assert out.mean().item() == pytest.approx(noise.float().mean().item(), abs=1)
    flat = torch.full_like(noise, 77)
    assert torch.equal(augment(flat), flat)


def test_a_mask_moves_with_its_crop_and_keeps_its_values() -> None:
    shown = torch.zeros(12, 48, 48, 4, dtype=torch.uint8)
    shown[:, 10:30, 5:25] = 255  # the mask is where the picture is white
    config = Config(input_size=48, colour=0.0, degrade=0.0, grayscale=0.0, erase=0.0)
    out = Augment(config)(shown)
    assert torch.equal(out[..., 3], out[..., 0]) and not torch.equal(out, shown)
    coloured = Augment(Config(input_size=48, erase=1.0))(shown)
    assert coloured[..., 3].max() == 255 and set(coloured[..., 3].unique().tolist()) >= {0, 255}
