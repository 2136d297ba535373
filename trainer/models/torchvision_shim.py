"""The one place that imports torchvision, so that its networks also work beside another build of torch.

torchvision registers its compiled operators when it loads them. Where that library does not match the installed torch
(a CUDA wheel beside a CPU build), merely importing torchvision fails with ``operator torchvision::nms does not exist``.
The networks need none of these operators, so declaring the missing names is enough.
"""

from __future__ import annotations

import torch

from edgeface.common.install import missing

_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

try:
    import torchvision
except ImportError as error:
    raise missing("torchvision", "train", "training") from error
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    for _name, _schema in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, _name):
            torch.library.define(f"torchvision::{_name}", _schema)
    import torchvision  # noqa: F401
