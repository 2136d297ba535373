"""How the tasks' losses become one training signal: weights that are fixed, learned or follow from the training.

Another way is one class here, under its name in ``BALANCERS``. Every balancer starts from the recipe's weights.
``fairness``, ``distill``, ``soft`` and ``embedding`` keep theirs: no tasks, but a constraint and second labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeface.errors import ConfigError
from trainer.config import Config
from trainer.objective.gradients import add_gradient, averaged, backward, flattened, grad_wrt, project_conflicts

Scale = Callable[[Tensor], Tensor]
"""What is done to a loss before going backwards: a gradient scaler's factor, the share of an accumulated step."""

EXTRAS = ("fairness", "distill", "soft", "embedding")
_REGRESSIONS = ("mse", "l1", "huber")


class Shared(Protocol):
    """What a balancer needs to know of a network."""

    def backbone_parameters(self) -> Iterable[nn.Parameter]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


class Balancer(nn.Module):
    """Fixed weights, and the base of all others.

    Its parameters are learned with the network's, so an optimiser has to hold them; its state dict resumes it.
    """

    learns: ClassVar[bool] = False
    """The weights are learned: they have to start above zero."""
    single_pass: ClassVar[bool] = True
    """One pass backwards does, so that the network may be compiled."""

    def __init__(self, config: Config, net: Shared):
        super().__init__()
        self.tasks = (*config.tasks, *(("mask",) if config.decoder else ()))
        self.start = {name: float(getattr(config, f"{name}_weight")) for name in (*self.tasks, *EXTRAS)}
        self.net = [net]  # in a list, so that the network is no part of this module

    def backward(self, losses: Mapping[str, Tensor], scale: Scale = lambda loss: loss) -> Tensor:
        """Add the gradients of the balanced losses to every ``.grad``; returns the total, a detached scalar."""
        total = self.total(losses)
        backward(scale(total))
        return total.detach()

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of all losses."""
        weights = self.task_weights()
        tasks = [weight * losses[name] for name, weight in zip(self.tasks, weights)]
        return torch.stack([*tasks, *self._extras(losses)]).sum()

    def task_weights(self) -> Tensor:
        """The weight of each of ``tasks``: float ``[T]``, differentiable where it is learned."""
        return torch.tensor([self.start[name] for name in self.tasks], device=self._device())

    def weights(self) -> dict[str, float]:
        """The weights now, for the log."""
        return dict(zip(self.tasks, self.task_weights().detach().tolist()))

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        """Take note of an epoch's mean losses, the same on every process."""

    def _extras(self, losses: Mapping[str, Tensor]) -> list[Tensor]:
        return [self.start[name] * losses[name] for name in EXTRAS if name in losses]

    def _device(self) -> torch.device:
        return next(iter(self.net[0].backbone_parameters())).device


class Learned(Balancer):
    """Learned, positive weights of a constant sum: HydraNet's α·MAE + β·BCE + γ·CE.

    Left to themselves, learned weights do not balance anything: a loss is positive, so its gradient pulls its weight
    down, to zero and below. A softmax keeps them positive and their sum constant, but then all of it goes to the
    smallest loss. So the total also charges -p·log w for each weight, p being the task's share of the recipe's weights:
    the optimum is w = T·p / (loss + μ), in which a large loss gets a small weight and none gets zero.
    """

    learns = True

    def __init__(self, config: Config, net: Shared):
        super().__init__(config, net)
        start = super().task_weights()
        self.prior: Tensor
        self.register_buffer("prior", start / start.sum(), persistent=False)
        self.logit = nn.Parameter(self.prior.log())
        self.sum = float(start.sum())

    def task_weights(self) -> Tensor:
        return self.sum * F.softmax(self.logit, dim=0)

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        return super().total(losses) - self.sum * (self.prior * F.log_softmax(self.logit, dim=0)).sum()


class Uncertainty(Balancer):
    """Weights from each task's learned noise: loss·e^-s + s/2 (half the first term for a regression), s = log σ².

    Kendall, Gal, Cipolla, "Multi-task learning using uncertainty to weigh losses for scene geometry and semantics",
    CVPR 2018.
    """

    learns = True

    def __init__(self, config: Config, net: Shared):
        super().__init__(config, net)
        regressed = [name == "age" and config.age_loss in _REGRESSIONS for name in self.tasks]
        self.factor: Tensor
        self.register_buffer("factor", torch.tensor(regressed, device=self._device()) * -0.5 + 1, persistent=False)
        self.log_variance = nn.Parameter(-(super().task_weights() / self.factor).log())

    def task_weights(self) -> Tensor:
        return self.factor * torch.exp(-self.log_variance)

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        return super().total(losses) + 0.5 * self.log_variance.sum()


class GradNorm(Balancer):
    """Weights under which every task pulls at the last shared layer with a norm that suits how fast it learns.

    Chen et al., "GradNorm: gradient normalization for adaptive loss balancing in deep multitask networks", ICML 2018:
    the weights descend on Σ|G - mean(G)·r^α|, G being the norm of a weighted loss's gradient and r the task's loss as a
    fraction of its first one, relative to the mean of these fractions. A softmax keeps the weights positive and their
    sum constant, where the paper divides by it after each step. While the backbone is frozen the weights rest.
    """

    learns = True
    single_pass = False
    alpha: ClassVar[float] = 1.5

    def __init__(self, config: Config, net: Shared):
        super().__init__(config, net)
        start = super().task_weights()
        self.sum = float(start.sum())
        self.logit = nn.Parameter((start / self.sum).log())
        self.first_losses: Tensor
        self.register_buffer("first_losses", torch.zeros_like(start))

    def task_weights(self) -> Tensor:
        return self.sum * F.softmax(self.logit, dim=0)

    def backward(self, losses: Mapping[str, Tensor], scale: Scale = lambda loss: loss) -> Tensor:
        weights_of_backbone = [p for p in self.net[0].backbone_parameters() if p.ndim > 1 and p.requires_grad]
        if weights_of_backbone:
            backward(scale(self._imbalance(losses, weights_of_backbone[-1], scale)))
        weights = self.task_weights().detach()
        tasks = [weight * losses[name] for name, weight in zip(self.tasks, weights)]
        total = torch.stack([*tasks, *self._extras(losses)]).sum()
        backward(scale(total))
        return total.detach()

    def _imbalance(self, losses: Mapping[str, Tensor], layer: nn.Parameter, scale: Scale) -> Tensor:
        """The weights' own loss, in units of the mean norm, so that one learning rate suits every network."""
        gradients = [flattened(grad_wrt(scale(losses[name]), layer), [layer]) for name in self.tasks]
        now = torch.stack([losses[name].detach().float() for name in self.tasks])
        *gradients, now = averaged([*gradients, now])
        self.first_losses.copy_(torch.where(self.first_losses > 0, self.first_losses, now))
        norms = torch.stack([gradient.norm() for gradient in gradients])
        pulls = self.task_weights() * norms
        progress = torch.where(self.first_losses > 0, now / self.first_losses, 1.0)  # 0: no label of the task so far
        wanted = pulls.mean() * (progress / progress.mean().clamp_min(1e-8)) ** self.alpha
        unit = pulls.mean().detach()
        if not (torch.isfinite(unit) and unit > 0):  # a scaled half-precision step that overflowed
            return 0.0 * self.logit.sum()
        return (pulls - wanted.detach()).abs().sum() / unit


class PcGrad(Balancer):
    """Gradients that do not work against each other: each task's loses what points against another task's.

    Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020. Only parameters that several tasks reach take
    part. Several processes first agree on each task's gradient, so that they all project the same.
    """

    single_pass = False

    def __init__(self, config: Config, net: Shared):
        super().__init__(config, net)
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.seed = config.seed

    def backward(self, losses: Mapping[str, Tensor], scale: Scale = lambda loss: loss) -> Tensor:
        parameters = [p for p in self.net[0].parameters() if p.requires_grad]
        tasks = [weight * losses[name] for name, weight in zip(self.tasks, self.task_weights())]
        found = [torch.autograd.grad(scale(t), parameters, retain_graph=True, allow_unused=True) for t in tasks]
        for parameter, gradients in zip(parameters, zip(*found)):
            own = [gradient for gradient in gradients if gradient is not None]
            if len(own) == 1:  # of a head
                add_gradient(parameter, own[0])
        reached = [sum(gradient is not None for gradient in gradients) > 1 for gradients in zip(*found)]
        shared = [parameter for parameter, several in zip(parameters, reached) if several]
        if shared:
            flat = [flattened([g for g, several in zip(gradients, reached) if several], shared) for gradients in found]
            projected = torch.stack(self._projected(flat)).sum(dim=0)
            for parameter, part in zip(shared, torch.split(projected, [p.numel() for p in shared])):
                add_gradient(parameter, part.view_as(parameter))
        extras = torch.stack([torch.zeros_like(tasks[0]), *self._extras(losses)]).sum()
        if extras.requires_grad:
            backward(scale(extras))
        return torch.stack([*tasks, extras]).sum().detach()

    def _projected(self, gradients: list[Tensor]) -> list[Tensor]:
        """The same on every process: of gradients averaged over them, in one random order."""
        generator = torch.Generator().manual_seed(self.seed + int(self.steps))
        self.steps += 1
        return project_conflicts(averaged(gradients), generator)


class DynamicAverage(Balancer):
    """Weights by how slowly each loss fell between the last two epochs: T·softmax(r / temperature), r their ratio.

    Liu, Johns, Davison, "End-to-end multi-task learning with attention" (dynamic weight average), CVPR 2019. The first
    two epochs have the recipe's weights, which afterwards are factors of these.
    """

    temperature: ClassVar[float] = 2.0

    def __init__(self, config: Config, net: Shared):
        super().__init__(config, net)
        self.history: Tensor
        self.register_buffer("history", torch.full((2, len(self.tasks)), math.nan, device=self._device()))

    def task_weights(self) -> Tensor:
        start = super().task_weights()
        before, last = self.history
        if not torch.isfinite(self.history).all():
            return start
        ratio = last / before.clamp_min(1e-8)
        return start * len(self.tasks) * F.softmax(ratio / self.temperature, dim=0)

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        now = self.history.new_tensor([losses[name] for name in self.tasks])
        self.history.copy_(torch.stack([self.history[1], now]))


BALANCERS: dict[str, type[Balancer]] = {
    "fixed": Balancer,
    "learned": Learned,
    "uncertainty": Uncertainty,
    "gradnorm": GradNorm,
    "pcgrad": PcGrad,
    "dwa": DynamicAverage,
}


def make_balancer(config: Config, net: Shared) -> Balancer:
    """The recipe's balancer. Raises ``ConfigError`` for one that does not exist or cannot work with these settings."""
    if config.balance not in BALANCERS:
        raise ConfigError(f"`balance`: expected {' or '.join(BALANCERS)}, found {config.balance}")
    kind = BALANCERS[config.balance]
    if config.compile and not kind.single_pass:
        raise ConfigError(f"`compile`: expected false with balance {config.balance}, which goes backwards repeatedly")
    balancer = kind(config, net)
    for name in balancer.tasks:
        if kind.learns and balancer.start[name] <= 0:
            raise ConfigError(f"`{name}_weight`: expected above 0 to start balance {config.balance}, found 0")
    return balancer
