"""Augmentation keeps what the network relies on: shape, type, range, and the same answer for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

import torch.nn.functional as F  # noqa: E402

from trainer.augmentation.augment import Augment  # noqa: E402
from trainer.augmentation.ops import Plan, with_opencv, with_torch  # noqa: E402
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


def pictures(count: int) -> torch.Tensor:
    """Crops with detail at an image's scale, not noise."""
    smooth = F.avg_pool2d(crops(count).permute(0, 3, 1, 2).float(), 5, 1, 2)
    return ((smooth - 127) * 3 + 127).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).contiguous()


@pytest.mark.parametrize(
    ("settings", "levels"),
    [({"rotation_deg": 20.0, "scale": 0.2}, 3), ({"colour": 0.4, "grayscale": 0.3}, 1), ({"erase": 1.0}, 0)],
)
def test_both_ways_to_augment_agree(settings: dict[str, float], levels: int) -> None:
    plan = only(**settings).plan(torch.rand(16, 19, generator=torch.Generator().manual_seed(2)), 48)
    before = pictures(16)
    difference = (with_opencv(before, plan).int() - with_torch(before, plan).int()).abs()
    assert difference.max() <= levels  # OpenCV's bilinear weights are multiples of 1/32


def test_both_ways_to_degrade_agree() -> None:
    augment, before = only(degrade=0.6), pictures(24)
    plan = augment.plan(unflipped(augment, 24), 48)
    first, second = (way(before, plan).float() for way in (with_opencv, with_torch))
    lost = (first - before).abs().mean((1, 2, 3))
    untouched = lost == 0
    assert 0 < untouched.sum() < 12 and torch.equal(first[untouched], second[untouched])
    apart = (first - second).abs().mean((1, 2, 3))  # one shrinks by a box, the other by a triangle
    assert (apart <= 0.5 * lost).all() and apart[~untouched].mean() < 0.3 * lost[~untouched].mean()


def test_blur_is_gaussian() -> None:
    dot = torch.zeros(1, 48, 48, 3, dtype=torch.uint8)
    dot[0, 20:25, 20:25] = 255
    look = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    one, zero = torch.ones(1), torch.zeros(1)
    plan = Plan(look, torch.eye(3)[None], torch.zeros(1, 3), zero.long(), one, torch.zeros(1, 4, dtype=torch.int64))
    distance = torch.arange(48.0)[:, None] - torch.arange(20.0, 25.0)
    line = torch.exp(-distance.square() / 2).sum(1) / (2 * np.pi) ** 0.5
    for way in (with_opencv, with_torch):
        assert (way(dot, plan)[0, :, :, 0] - 255 * line[:, None] * line).abs().max() <= 2


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
    shown[:, 10:30, 5:25] = 255  # the mask is where the image is white
    config = Config(input_size=48, colour=0.0, degrade=0.0, grayscale=0.0, erase=0.0)
    out = Augment(config)(shown)
    assert torch.equal(out[..., 3], out[..., 0]) and not torch.equal(out, shown)
    coloured = Augment(Config(input_size=48, erase=1.0))(shown)
    assert coloured[..., 3].max() == 255 and set(coloured[..., 3].unique().tolist()) >= {0, 255}
