"""Any artefact as something that answers crops: checkpoint (.pt), program (.pt2), ONNX file or engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ArtifactError, ConfigError
from edgeface.spec.model import ModelSpec
from edgeface.types import Attributes
from trainer.models.predictions import with_missing_heads

_BATCH = 64


class Estimator(Protocol):
    """What is judged: ``spec``, and crops uint8 ``[N, S, S, 3]`` RGB → attributes, NaN where a head is absent."""

    @property
    def spec(self) -> ModelSpec: ...

    def from_crops(self, crops: NDArray[np.uint8]) -> Attributes: ...


def open_artefact(path: str | os.PathLike[str], device: str = "auto", threads: int = 0) -> Estimator:
    """Open by suffix. ``device`` (auto, cpu, cuda) is for checkpoints; ``threads`` for ONNX files.

    A checkpoint answers with its averaged weights and the calibration it carries. Raises ``ArtifactError`` for a file
    that is missing or of another kind.
    """
    place = Path(path)
    if not place.is_file():
        raise ArtifactError(f"no artefact at `{path}`: expected a file ending in .pt, .pt2, .onnx or .engine")
    suffix = place.suffix.lower()
    if suffix in (".pt", ".pth"):
        return CheckpointEstimator(place, device)
    if suffix == ".pt2":
        return ProgramEstimator(place)
    from edgeface.api import AttributeEstimator

    return AttributeEstimator(place, threads=threads, batch=_BATCH)


def names_of(paths: Sequence[Path]) -> dict[str, Path]:
    """Short names that tell artefacts apart: the file's stem, with its folder's name where stems repeat.

    Raises ``ConfigError`` where the same file is named twice.
    """
    stems = [path.stem for path in paths]
    names = [stem if stems.count(stem) == 1 else f"{path.parent.name}/{path.name}" for stem, path in zip(stems, paths)]
    if len(set(names)) < len(names):
        raise ConfigError(f"artefacts cannot be told apart: {', '.join(map(str, paths))}; rename one or name it once")
    return dict(zip(names, paths))


class CheckpointEstimator:
    """The averaged weights of a training run, in full precision."""

    def __init__(self, path: Path, device: str = "auto"):
        from trainer.compute_device import pick_device
        from trainer.models import load_net
        from trainer.models.program import spec_of

        self.device = pick_device(device)
        self.net, self.config = load_net(path, self.device)
        self.spec = spec_of(self.config, self.net, {})

    def from_crops(self, crops: NDArray[np.uint8]) -> Attributes:
        from trainer.models.predictions import attributes_of

        return attributes_of(self.net, crops, self.device)


class ProgramEstimator:
    """A ``torch.export`` program, as the trainer wrote it, on the CPU."""

    def __init__(self, path: Path):
        from edgeface.export.onnx_export import load_program

        program, self.spec = load_program(path)
        self._module: Any = program.module()

    def from_crops(self, crops: NDArray[np.uint8]) -> Attributes:
        import torch

        names = [head.name for head in self.spec.heads]
        parts: list[list[NDArray[Any]]] = []
        with torch.inference_mode():
            for start in range(0, len(crops), _BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(crops[start : start + _BATCH]))
                parts.append([output.numpy() for output in self._module(batch)])
        if not parts:
            return Attributes.empty()
        return with_missing_heads(dict(zip(names, (np.concatenate(column) for column in zip(*parts)))), len(crops))
