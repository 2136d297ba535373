"""Contrastive pretraining: before the first epoch the backbone learns which faces belong together.

Another way to pair faces is one function here and its line in ``PRETEXTS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeface.errors import ConfigError
from trainer.augmentation.augment import Augment
from trainer.compute_device import autocast, pick_amp
from trainer.config import Config
from trainer.data.batches import BatchLoader
from trainer.data.samples import Samples
from trainer.data.sampling import epoch_order
from trainer.log import Log
from trainer.models import AttributeNet
from trainer.objective.losses import Targets
from trainer.objective.optim import Schedule, make_optimizer

_IMPOSSIBLE = -1e4
"""Logit of what may not be chosen: finite, so that a row without any choice has finite gradients."""


class Pairs(NamedTuple):
    """``positive`` bool ``[M, M]``: belong together; ``weight`` float ``[M, M]``: how much other pairs count."""

    positive: Tensor
    weight: Tensor


class Pretext(NamedTuple):
    """``pairs``: labels of M crops, whose image each is (int ``[M]``), config → ``Pairs``; ``views`` of an image."""

    pairs: Callable[[Targets, Tensor, Config], Pairs]
    views: int


def age_pairs(targets: Targets, picture: Tensor, config: Config) -> Pairs:
    """Faces of one age group belong together; the others count by their distance in years, 1 on an anchor's average.

    A face whose age is unknown, or an interval across groups, takes no part.
    """
    exact = torch.isfinite(targets.age)
    low = torch.where(exact, targets.age, targets.low.float())
    high = torch.where(exact, targets.age, targets.high.float())
    starts = torch.tensor(config.age_groups, dtype=low.dtype, device=low.device)
    first, last = (torch.bucketize(end.nan_to_num(-1), starts, right=True) - 1 for end in (low, high))
    usable = (first >= 0) & (first == last)
    pair = usable[:, None] & usable[None, :]
    same = first[:, None] == first[None, :]
    middle = ((low + high) / 2).nan_to_num()
    distance = (middle[:, None] - middle[None, :]).abs() * (pair & ~same)
    mean = distance.sum(dim=1) / (pair & ~same).sum(dim=1).clamp_min(1)
    return Pairs(pair & same, distance / mean.clamp_min(1e-6)[:, None])


def view_pairs(targets: Targets, picture: Tensor, config: Config) -> Pairs:
    """Two augmentations of an image belong together, no labels needed.

    Chen et al., "A simple framework for contrastive learning of visual representations" (SimCLR), ICML 2020.
    """
    same = picture[:, None] == picture[None, :]
    return Pairs(same, (~same).float())


PRETEXTS = {"age-contrast": Pretext(age_pairs, views=1), "view-contrast": Pretext(view_pairs, views=2)}


def contrastive_loss(embedded: Tensor, pairs: Pairs, temperature: float) -> Tensor:
    """InfoNCE of unit vectors ``[M, D]``: each positive pair against the anchor's negatives, mean over the anchors.

    -log(e^s⁺ / (e^s⁺ + Σ w·e^s⁻)), s being cosine similarity over ``temperature``. Van den Oord et al.,
    "Representation learning with contrastive predictive coding", 2018. Anchors without a positive are left out.
    """
    itself = torch.eye(len(embedded), dtype=torch.bool, device=embedded.device)
    positive, negative = pairs.positive & ~itself, ~pairs.positive & ~itself & (pairs.weight > 0)
    similarity = embedded @ embedded.T / temperature
    weighted = similarity + pairs.weight.clamp_min(1e-12).log()
    against = torch.logsumexp(weighted.masked_fill(~negative, _IMPOSSIBLE), dim=1)
    losses = F.softplus(against[:, None] - similarity) * positive
    counts = positive.sum(dim=1)
    return (losses.sum(dim=1) / counts.clamp_min(1)).sum() / (counts > 0).sum().clamp_min(1)


class Projected(nn.Module):
    """A network's pooled features through the projector, which only pretraining has: crops → ``[N, D]``."""

    def __init__(self, net: AttributeNet, features: int, widths: tuple[int, ...]):
        super().__init__()
        self.net = net
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((features, *widths)):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.projector = nn.Sequential(*layers[:-1])

    def forward(self, crops: Tensor) -> Tensor:
        projected: Tensor = self.projector(self.net.pooled(crops))
        return projected

    def backbone_parameters(self) -> Iterable[nn.Parameter]:
        return self.net.backbone_parameters()


def check(config: Config) -> None:
    """Raise ``ConfigError`` where the recipe asks for a pretraining that does not exist."""
    if config.pretrain and config.pretrain not in PRETEXTS:
        raise ConfigError(f"`pretrain`: expected {' or '.join(PRETEXTS)}, or nothing, found {config.pretrain}")


def pretrain_backbone(config: Config, net: AttributeNet, samples: Samples, device: torch.device, log: Log) -> None:
    """Train ``net``'s backbone (attention and pooling, too) for ``pretrain_epochs``; its heads stay as they are.

    Optimiser, schedule, batch and augmentation are the recipe's, but nothing is frozen and all parts have one rate.
    Several processes do the same work, on whole batches: negatives are what a batch has to offer.
    """
    check(config)
    config = replace(config, epochs=config.pretrain_epochs, frozen_epochs=0, backbone_rate=1.0)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        crop = torch.zeros((1, config.input_size, config.input_size, 3), dtype=torch.uint8, device=device)
        features = net.eval().pooled(crop).shape[1]
    model = Projected(net, features, config.projector).to(device)
    order = epoch_order(samples, config, generator)
    steps = len(order) // config.batch
    optimizer = make_optimizer(config, model)
    schedule = Schedule(config, optimizer, steps)
    amp = pick_amp(config.amp, device)
    scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
    feed, augment = BatchLoader(samples, samples.rows(config.train_folds), device), Augment(config)
    model.train()
    for epoch in range(config.pretrain_epochs):
        batches = order[: steps * config.batch].reshape(-1, config.batch)
        total = torch.zeros((), device=device)
        with log.bar(f"pretraining {epoch + 1}/{config.pretrain_epochs}", steps) as advance:
            for batch in feed.batches(list(batches)):
                with autocast(device, amp):
                    loss = _loss(model, batch.crops, batch.targets, augment, generator, config)
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.unscale_(optimizer)
                if config.grad_clip:
                    nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                total += loss.detach()
                advance(1)
        log.say(f"pretraining {epoch + 1}/{config.pretrain_epochs}: {config.pretrain} {float(total) / steps:.4f}")
        order = epoch_order(samples, config, generator)
    optimizer.zero_grad(set_to_none=True)


def _loss(
    model: nn.Module, crops: Tensor, targets: Targets, augment: Augment, generator: torch.Generator, config: Config
) -> Tensor:
    """The pretext's loss of one batch, each of its images in as many views as the pretext takes."""
    pretext = PRETEXTS[config.pretrain]
    picture = torch.arange(len(crops), device=crops.device).repeat(pretext.views)
    looks = [augment(crops, augment.chances(len(crops), generator))[..., :3] for _ in range(pretext.views)]
    embedded = F.normalize(model(torch.cat(looks)).float(), dim=1)
    with torch.autocast(crops.device.type, enabled=False):
        pairs = pretext.pairs(targets[picture], picture, config)
        return contrastive_loss(embedded, pairs, config.pretrain_temperature)
