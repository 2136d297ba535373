"""Two trained networks as one: their weights averaged, where one run went on from the other.

What a run learns again it pays for with some of what it knew; on the straight line between its start and its end lie
weights that often judge unseen faces better than either, at the cost of one network. Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022, and "Model soups", ICML 2022.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgeface.common.files import atomic_path
from trainer import checkpoint as checkpoints
from trainer.augmentation.augment import Augment
from trainer.config import Config
from trainer.data.samples import Samples, load_samples
from trainer.models import AttributeNet, is_training_only, load_compatible_weights, load_net
from trainer.run_state import some_crops

_BATCHES = 128
"""Of the recipe's size, on which running statistics are measured: an average of weights has statistics of its own."""


def average_runs(checkpoint: Path, other: Path, share: float, out: Path, cache: Path | None = None) -> Path:
    """Write a checkpoint of ``1 - share`` parts of ``checkpoint`` and ``share`` parts (0…1) of ``other``.

    ``other`` is a checkpoint or an exported ``.onnx`` of the same network that ``checkpoint`` went on from, or a twin
    from the same start; unrelated networks have no mean that answers anything. Recipe and crops are those of
    ``checkpoint`` (``cache``: where its crops lie now). The result is not calibrated. Raises ``ConfigError`` where
    tensors of the two differ.
    """
    net, config = load_net(checkpoint)
    config = replace(config, cache=str(cache)) if cache else config
    samples = load_samples(config).samples
    _mix(net, load_compatible_weights(other, config, some_crops(samples, config)), share)
    measure_statistics(net, samples, config)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in config.to_dict().items()}
    with atomic_path(out) as temporary:
        epoch = checkpoints.read(checkpoint).get("epoch", 0)
        torch.save({"config": plain, "ema": net.state_dict(), "best": None, "epoch": epoch}, temporary)
    return out


@torch.no_grad()
def measure_statistics(net: AttributeNet, samples: Samples, config: Config) -> None:
    """Running means and variances of ``net`` again, as the mean over batches of gently augmented training crops."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    net.train()
    for crops in _batches(samples, config):
        net(crops)
    net.eval()
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


def _batches(samples: Samples, config: Config) -> Iterator[Tensor]:
    rows = samples.rows(config.train_folds)
    augment, random = Augment(config, cooldown=True), torch.Generator().manual_seed(config.seed)
    order = torch.randperm(len(rows), generator=random).numpy()[: _BATCHES * config.batch]
    for part in np.array_split(order, max(1, len(order) // config.batch)):
        crops = torch.from_numpy(samples.pixels[rows[np.sort(part)]])
        yield augment(crops, augment.chances(len(crops), random))


def _mix(net: AttributeNet, other: AttributeNet, share: float) -> None:
    weights, others = net.state_dict(), other.state_dict()
    for name, value in weights.items():
        if value.is_floating_point() and not is_training_only(name):
            value.lerp_(others[name], share)
