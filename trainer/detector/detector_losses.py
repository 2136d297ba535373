"""The three losses: soft scores, boxes, landmarks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeface.imaging.postprocess import anchors
from trainer.detector.config import Recipe
from trainer.detector.network import STRIDES


def quality_focal_loss(logits: Tensor, target: Tensor, care: Tensor) -> Tensor:
    """Sum of |sigmoid - target|^2 x cross-entropy, targets in 0...1 (Li et al., "Generalized Focal Loss", 2020).

    ``care`` weighs every cell; 0 where nothing is to be learnt.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((logits.sigmoid() - target).detach().square() * entropy * care).sum()


def eiou_loss(box: Tensor, target: Tensor) -> Tensor:
    """EIoU loss ``[K]`` of xyxy boxes ``[K, 4]`` (Zhang et al., "Focal and Efficient IOU Loss", 2021)."""
    size, target_size = box[:, 2:] - box[:, :2], target[:, 2:] - target[:, :2]
    shared = torch.minimum(box[:, 2:], target[:, 2:]) - torch.maximum(box[:, :2], target[:, :2])
    overlap = shared.clamp(min=0).prod(dim=1)
    iou = overlap / (size.prod(dim=1) + target_size.prod(dim=1) - overlap + 1e-6)
    hull = torch.maximum(box[:, 2:], target[:, 2:]) - torch.minimum(box[:, :2], target[:, :2])
    shift = (box[:, :2] + box[:, 2:] - target[:, :2] - target[:, 2:]) / 2
    distance = shift.square().sum(dim=1) / (hull.square().sum(dim=1) + 1e-6)
    stretch = ((size - target_size).square() / (hull.square() + 1e-6)).sum(dim=1)
    return 1 - iou + distance + stretch


def detector_loss(
    outputs: tuple[Tensor, Tensor, Tensor], target: dict[str, Tensor], canvas: tuple[int, int], recipe: Recipe
) -> dict[str, Tensor]:
    """Score, box, landmark and total loss of a batch.

    ``outputs`` as ``Detector`` gives them for ``canvas`` (width, height); ``target`` holds stacked ``Targets``.
    """
    logits, distances, offsets = outputs
    points, strides = (torch.from_numpy(part).to(logits.device) for part in anchors(*canvas, STRIDES))
    votes = (target["scores"] * (target["weights"] > 0)).sum().clamp(min=1.0)
    row, cell = target["weights"].nonzero(as_tuple=True)
    weight, mark_weight = target["weights"][row, cell], target["mark_weights"][row, cell]
    point, stride = points[cell], strides[cell, None]
    goal = target["boxes"][row, cell]
    box = torch.cat([point - distances[row, cell, :2] * stride, point + distances[row, cell, 2:] * stride], dim=1)
    inside = ((point > goal[:, :2]) & (point < goal[:, 2:])).all(dim=1)  # else no distance reaches it
    size = (goal[:, 2:] - goal[:, :2]).prod(dim=1).clamp(min=1.0).sqrt()[:, None]
    marks = point.repeat(1, 5) + offsets[row, cell] * stride
    goal_marks = target["landmarks"][row, cell]
    error = F.smooth_l1_loss(marks / size, goal_marks / size, beta=0.005, reduction="none").sum(dim=1)
    sharp = (size[:, 0] / recipe.sharp_px).clamp(max=1.0)  # a tiny face's landmarks are mostly guesswork
    losses = {
        "score": quality_focal_loss(logits, target["scores"], target["care"]) / votes,
        "box": (eiou_loss(box, goal) * weight * inside).sum() / weight.sum().clamp(min=0.1),
        "landmarks": (error * mark_weight * sharp).sum() / mark_weight.sum().clamp(min=0.1),
    }
    total = losses["score"] + recipe.box_weight * losses["box"] + recipe.landmark_weight * losses["landmarks"]
    return {**losses, "total": total}
