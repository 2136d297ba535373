"""In which order an epoch sees the images: sets mixed by share, groups of people drawn equally often."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.config import Config
from trainer.data.samples import SOURCES, Samples

Rows = NDArray[np.int64]


def epoch_order(samples: Samples, config: Config, generator: torch.Generator) -> Rows:
    """Shuffled row numbers of one epoch: each source's training images ``share`` times (parts drawn at random).

    With ``balance_over`` the combinations of these labels come equally often instead, in as many images: each
    combination's are repeated or left out evenly. Images that lack one of the labels keep their number.
    """
    picked = []
    for code, source in enumerate(SOURCES):
        rows = samples.rows(config.train_folds, code)
        picked.append(_repeated(rows, round(getattr(config, f"{source}_share") * len(rows)), generator))
    order = np.concatenate(picked)
    if config.balance_over:
        order = _balanced(order, cells(samples, config.balance_over)[order], generator)
    return np.asarray(order[torch.randperm(len(order), generator=generator).numpy()], np.int64)


def epoch_length(samples: Samples, config: Config) -> int:
    """Images that an epoch sees."""
    counts = {s: len(samples.rows(config.train_folds, code)) for code, s in enumerate(SOURCES)}
    return sum(round(getattr(config, f"{source}_share") * count) for source, count in counts.items())


def cells(samples: Samples, names: tuple[str, ...]) -> Rows:
    """The combination of the labels ``names`` (age: its band) of every row, int64 ``[N]``, -1 where one is unknown."""
    labels = samples.labels(np.arange(len(samples)))
    code = np.zeros(len(samples), np.int64)
    known = np.ones(len(samples), bool)
    for name in names:
        values = labels.bands() if name == "age" else np.asarray(getattr(labels, name), np.int64)
        known &= values >= 0
        code = code * (values.max(initial=0) + 1) + values
    return np.where(known, code, -1)


def _balanced(order: Rows, cell: Rows, generator: torch.Generator) -> Rows:
    """As many rows, those of each non-negative ``cell`` equally often (±1)."""
    known = order[cell >= 0]
    present = np.unique(cell[cell >= 0])
    parts = [order[cell < 0]]
    for number, code in enumerate(present):
        count = (number + 1) * len(known) // len(present) - number * len(known) // len(present)
        parts.append(_repeated(order[cell == code], count, generator))
    return np.concatenate(parts)


def _repeated(rows: Rows, count: int, generator: torch.Generator) -> Rows:
    """``count`` of ``rows``: all as often as they fit, the rest drawn without replacement."""
    if not len(rows):
        return rows
    whole, rest = divmod(count, len(rows))
    return np.concatenate([np.tile(rows, whole), rows[torch.randperm(len(rows), generator=generator).numpy()[:rest]]])
