"""The order of an epoch: shares of sets, groups drawn equally often, and nothing that is held out."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from trainer.config import Config  # noqa: E402
from trainer.data.samples import Samples  # noqa: E402
from trainer.data.sampling import cells, epoch_length, epoch_order  # noqa: E402


def people(count: int, seed: int = 0) -> Samples:
    random = np.random.default_rng(seed)
    return Samples(
        pixels=np.zeros((count, 2, 2, 3), np.uint8),
        age=np.where(random.random(count) < 0.3, np.nan, random.integers(0, 90, count)).astype(np.float32),
        interval=np.full(count, -1),
        low=np.full(count, -1),
        high=np.full(count, -1),
        gender=random.choice([-1, 0, 0, 0, 1], count),
        race=random.choice([-1, 0, 0, 0, 0, 1, 2, 3, 4], count),
        fold=random.integers(0, 10, count),
        source=random.integers(0, 3, count),
        found=np.ones(count, bool),
        name=np.array([f"{row}.jpg" for row in range(count)]),
    )


def order(samples: Samples, config: Config, seed: int = 0) -> np.ndarray:
    return epoch_order(samples, config, torch.Generator().manual_seed(seed))


@given(st.floats(0, 3), st.floats(0, 3), st.floats(0, 3), st.sampled_from([(), ("gender",), ("gender", "race", "age")]))
def test_an_epoch_has_its_length_and_no_held_out_face(
    utkface: float, fairface: float, manifest: float, balance: tuple[str, ...]
) -> None:
    samples = people(200)
    config = Config(utkface_share=utkface, fairface_share=fairface, manifest_share=manifest, balance_over=balance)
    rows = order(samples, config)
    assert len(rows) == epoch_length(samples, config)
    assert np.isin(samples.fold[rows], config.train_folds).all()


def test_each_training_face_is_seen_as_often_as_asked() -> None:
    samples = people(300)
    rows = order(samples, Config(utkface_share=2.5, fairface_share=0.5))
    counts = np.bincount(rows, minlength=300)
    first, second, third = (samples.rows(range(3, 10), source) for source in range(3))
    assert set(counts[first]) == {2, 3} and set(counts[second]) == {0, 1} and set(counts[third]) == {1}


def test_balanced_groups_come_equally_often() -> None:
    samples = people(2000)
    config = Config(balance_over=("gender", "race"))
    rows = order(samples, config)
    found = cells(samples, config.balance_over)[rows]
    counts = np.bincount(found[found >= 0])
    assert len(counts) == 10 and counts.max() - counts.min() <= 1
    plain = cells(samples, config.balance_over)[order(samples, Config())]
    assert (found < 0).sum() == (plain < 0).sum(), "faces of unknown groups keep their number"
    repeats = np.bincount(rows)[rows[found == 9]]
    assert repeats.max() - repeats.min() <= 1, "a rare group's faces are repeated evenly"


def test_the_seed_decides() -> None:
    samples, config = people(100), Config(balance_over=("gender",))
    assert np.array_equal(order(samples, config, 1), order(samples, config, 1))
    assert not np.array_equal(order(samples, config, 1), order(samples, config, 2))
