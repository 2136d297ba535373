"""Learning from teachers: trained networks whose averaged answers are a second label of every crop.

Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015. The student learns from what the teachers
say of the very crop it sees, augmented and mixed as it is (Beyer et al., "Knowledge distillation: a good teacher is
patient and consistent", CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeface.errors import ConfigError
from trainer.augmentation.ops import to_bytes
from trainer.compute_device import autocast, pick_amp
from trainer.config import Config
from trainer.models import AttributeNet, Logits, load_net
from trainer.models.heads import gender_logits, ordered_probabilities
from trainer.objective.age_losses import AGE_LOSSES, age_class_starts


@dataclass(frozen=True)
class Teachers:
    """Trained networks with their recipes, and the recipe of who learns from them."""

    members: tuple[tuple[AttributeNet, Config], ...]
    config: Config

    @classmethod
    def load(cls, config: Config, device: torch.device) -> Teachers:
        """The checkpoints that ``config.teachers`` names. Raises ``ArtifactError``, or ``ConfigError`` for a misfit."""
        members = []
        for path in config.teachers:
            net, recipe = load_net(path, device)
            _require_fit(path, recipe, config)
            members.append((net.requires_grad_(False), recipe))
        return cls(tuple(members), config)

    @torch.no_grad()
    def answers(self, crops: Tensor) -> Logits:
        """uint8 ``[N, S, S, 3]`` → the teachers' mean answers by task, in the form that the student's heads learn:

        "gender" ``[N, 2]`` and "race" ``[N, 5]`` are probabilities at ``distill_temperature``; "age" is a distribution
        over years or groups at this temperature, P(age > k) of an ordinal head, or years ``[N, 1]``.
        """
        found: dict[str, list[Tensor]] = {}
        for net, recipe in self.members:
            with autocast(crops.device, pick_amp(self.config.amp, crops.device)):
                logits = net(resized(crops, recipe.input_size))
            for task in self.config.tasks:
                if task in logits:
                    soft = softened(task, logits[task].float(), recipe, self.config)
                    found.setdefault(task, []).append(soft)
        return {task: torch.stack(answers).mean(dim=0) for task, answers in found.items()}


def distillation_loss(logits: Mapping[str, Tensor], soft: Mapping[str, Tensor], config: Config) -> Tensor:
    """How far a student's raw outputs are from ``Teachers.answers``: a scalar, tasks weighted as in the recipe.

    Distributions: the Kullback–Leibler divergence at ``distill_temperature`` T, times T², so that its gradients keep
    their size. Years and ordinal questions: the recipe's own loss with the teachers' answer as the label.
    """
    parts = []
    for task, target in soft.items():
        if task == "age":
            loss = _age_loss(logits["age"], target, config)
        else:
            raw = gender_logits(logits[task], config) if task == "gender" else _own_odds(logits[task], config)
            loss = _divergence(raw, target, config.distill_temperature)
        parts.append(getattr(config, f"{task}_weight") * loss)
    return torch.stack(parts).sum()


def resized(crops: Tensor, side: int) -> Tensor:
    """uint8 ``[N, S, S, 3]`` → uint8 ``[N, side, side, 3]``; aligned crops of another size show the same part."""
    if crops.shape[1] == side:
        return crops
    picture = crops.permute(0, 3, 1, 2).float()
    return to_bytes(F.interpolate(picture, size=(side, side), mode="bilinear", antialias=True))


def _require_fit(path: str, teacher: Config, student: Config) -> None:
    """Raise ``ConfigError`` where a teacher cannot tell this student anything."""
    if teacher.alignment != student.alignment:
        found = f"eye_distance {teacher.eye_distance}, centre_y {teacher.centre_y}"
        raise ConfigError(
            f"`teachers`: {path} knows crops of {found}, these have {student.eye_distance}, {student.centre_y}; "
            "cut both alike"
        )
    if not set(teacher.tasks) & set(student.tasks):
        raise ConfigError(f"`teachers`: {path} answers {', '.join(teacher.tasks)}, not {', '.join(student.tasks)}")
    if {"age"} <= set(teacher.tasks) & set(student.tasks) and (teacher.age_head, student.age_head) not in _SOFT_AGES:
        raise ConfigError(
            f"`teachers`: an age head of {student.age_head} learns nothing from the {teacher.age_head} head of {path}; "
            f"take a teacher with age_head distribution or {student.age_head}"
        )
    if teacher.age_head == student.age_head == "groups" and teacher.age_groups != student.age_groups:
        raise ConfigError(f"`teachers`: {path} has age_groups {teacher.age_groups}, not {student.age_groups}")


def softened(task: str, raw: Tensor, teacher: Config, student: Config) -> Tensor:
    """A teacher's raw output of a task in the form that the student learns: see ``Teachers.answers``."""
    if task == "age":
        return _SOFT_AGES[teacher.age_head, student.age_head](raw, student)
    logits = gender_logits(raw, teacher) if task == "gender" else raw
    return torch.softmax(logits / student.distill_temperature, dim=1)


def _tempered(raw: Tensor, student: Config) -> Tensor:
    return torch.softmax(raw / student.distill_temperature, dim=1)


def _expected(raw: Tensor, student: Config) -> Tensor:
    """A distribution's expectation in years ``[N, 1]``."""
    years = torch.arange(raw.shape[1], dtype=raw.dtype, device=raw.device)
    return (torch.softmax(raw, dim=1) @ years)[:, None]


def _older(raw: Tensor, student: Config) -> Tensor:
    """A distribution's P(age > k), k = 0 … K - 2."""
    return 1 - torch.softmax(raw, dim=1).cumsum(dim=1)[:, :-1].clamp_max(1)


def _grouped(raw: Tensor, student: Config) -> Tensor:
    """A distribution's probability of each of the student's age groups."""
    starts = age_class_starts(student, raw)
    years = torch.arange(raw.shape[1], dtype=raw.dtype, device=raw.device)
    member = F.one_hot(torch.bucketize(years, starts, right=True) - 1, len(starts)).to(raw.dtype)
    grouped = (torch.softmax(raw, dim=1) @ member).clamp_min(1e-12)
    return _tempered(grouped.log(), student)


_SOFT_AGES: dict[tuple[str, str], Callable[[Tensor, Config], Tensor]] = {
    ("distribution", "distribution"): _tempered,
    ("distribution", "regression"): _expected,
    ("distribution", "ordinal"): _older,
    ("distribution", "groups"): _grouped,
    ("regression", "regression"): lambda raw, student: raw,
    ("ordinal", "ordinal"): lambda raw, student: ordered_probabilities(raw),
    ("groups", "groups"): _tempered,
}
"""(teacher's age head, student's) → raw output, student's recipe → what the student learns."""


def _age_loss(raw: Tensor, target: Tensor, config: Config) -> Tensor:
    if config.age_head == "regression":
        return AGE_LOSSES[config.age_loss].function(raw, target[:, 0], target[:, 0], config).mean()
    if config.age_head == "ordinal":
        losses = F.binary_cross_entropy_with_logits(raw, target, reduction="none")
        return losses.sum(dim=1).mean() / config.age_scale
    return _divergence(raw, target, config.distill_temperature)


def _divergence(raw: Tensor, target: Tensor, temperature: float) -> Tensor:
    log_probability = F.log_softmax(raw / temperature, dim=1)
    return temperature**2 * F.kl_div(log_probability, target, reduction="batchmean")


def _own_odds(raw: Tensor, config: Config) -> Tensor:
    """Race logits without the odds that class weights add in training; teachers answer without theirs, too."""
    return raw - raw.new_tensor(config.race_class_weights).log()
