"""What a network predicts for crops, in evaluation mode and full precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeface.evaluation import metrics
from edgeface.types import Attributes
from trainer.config import Config
from trainer.models.calibration_values import Calibration
from trainer.models.heads import Answer

_BATCH = 256


def attributes_of(
    net: nn.Module, pixels: NDArray[np.uint8], device: torch.device, calibration: Calibration | None = None
) -> Attributes:
    """What the network says of crops uint8 ``[N, S, S, 3]``, in evaluation mode and full precision.

    Without ``calibration`` its own is applied. Absent heads answer NaN.
    """
    answer = Answer(net, calibration).eval()
    names = [head.name for head in answer.heads]
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), _BATCH):
            crops = torch.from_numpy(pixels[start : start + _BATCH]).to(device)
            parts.append([output.cpu().numpy() for output in answer(crops)])
    if not parts:
        return Attributes.empty()
    return with_missing_heads(dict(zip(names, (np.concatenate(column) for column in zip(*parts)))), len(pixels))


def age_logits_of(net: nn.Module, pixels: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32] | None:
    """The age head's raw output float32 ``[N, K]`` for crops uint8 ``[N, S, S, 3]``; ``None`` without such a head."""
    config: Config = net.config  # type: ignore[assignment]
    if "age" not in config.tasks or not len(pixels):
        return None
    net.eval()
    with torch.inference_mode():
        batches = (torch.from_numpy(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH))
        return np.concatenate([net(crops.to(device))["age"].float().cpu().numpy() for crops in batches])


def answers_of(net: nn.Module, pixels: NDArray[np.uint8], device: torch.device) -> metrics.Answers:
    """The classes and ages of ``attributes_of``."""
    return metrics.Answers.of(attributes_of(net, pixels, device))


def with_missing_heads(answers: dict[str, NDArray[Any]], count: int) -> Attributes:
    """Attributes of ``count`` faces from the outputs that there are, NaN for absent heads."""
    shapes = {"age": (), "age_std": (), "gender": (2,), "race": (5,)}
    return Attributes(**{name: answers.get(name, np.full((count, *rest), np.nan)) for name, rest in shapes.items()})
