"""``model.pt2``: the trained network as a ``torch.export`` program, uint8 crops to answers, with its ``ModelSpec``."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeface.common.files import atomic_path
from edgeface.spec.model import MODEL_KEY, ModelSpec
from trainer.config import Config
from trainer.models import is_training_only
from trainer.models.calibration_values import Calibration
from trainer.models.heads import Answer, spec_heads
from trainer.models.uncertainty import Ensemble

FOLD_RULE = {
    "utkface": "int(sha1(date&time).hexdigest(), 16) % 10",
    "fairface": "int(sha1(file without its ending).hexdigest(), 16) % 10",
}


def spec_of(config: Config, net: nn.Module, metrics: dict[str, Any]) -> ModelSpec:
    """The contract of a network trained with ``config``; ``metrics`` are those of the validation folds."""
    return ModelSpec(
        name=config.name,
        input_size=config.input_size,
        alignment=config.alignment,
        heads=spec_heads(config.tasks),
        training={
            "data": [name for name in ("utkface", "fairface", "manifests") if getattr(config, name)],
            "fold_rule": FOLD_RULE,
            "train_folds": list(config.train_folds),
            "validation_folds": list(config.validation_folds),
            "backbone": config.backbone,
            "parameters": sum(p.numel() for name, p in net.named_parameters() if not is_training_only(name)),
        },
        metrics=metrics,
        weights_sha256=weights_sha256(net),
    )


def weights_sha256(net: nn.Module) -> str:
    """Hex sha256 over the names and bytes of all weights and buffers, in name order."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_program(net: nn.Module, spec: ModelSpec, path: Path, calibration: Calibration | None = None) -> Path:
    """Write ``net``'s answers as a program for batches of any size; the given network is left as it is.

    ``net`` is an ``AttributeNet`` or ``Ensemble``. ``calibration``, else the network's own, is applied in the graph and
    noted in the spec.
    """
    still = copy.deepcopy(net).cpu().float()
    still = still.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    answer = (still if isinstance(still, Ensemble) else Answer(still, calibration)).eval()
    training = {**spec.training, "calibration": answer.calibration.to_dict()}
    crops = torch.zeros((2, spec.input_size, spec.input_size, 3), dtype=torch.uint8)
    with torch.no_grad():
        program = torch.export.export(answer, (crops,), dynamic_shapes=({0: torch.export.Dim("N", min=1, max=4096)},))
    content = io.BytesIO()  # into memory, since torch names the archive's top folder after the file
    extra_files = {MODEL_KEY: dataclasses.replace(spec, training=training).to_json()}
    torch.export.save(program, content, extra_files=extra_files)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
    return path
