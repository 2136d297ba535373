"""Soft labels: what other networks say of the training images, computed once and kept in a file.

A second label of every image, as ``distill`` has it, from networks that may be as large and slow as they like, or
that this trainer cannot run at all. The file is a ``.safetensors`` of float columns with one row an image: "age"
``[N, 101]``, "gender" ``[N, 2]`` and "race" ``[N, 5]`` are probabilities, "embedding" ``[N, D]`` is a vector of any
network. Its metadata has ``names``, a JSON list of the images' file names without folders and endings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from edgeface.common.files import atomic_path
from edgeface.errors import ConfigError, DataError
from edgeface.spec.model import RACES
from trainer.config import Config
from trainer.data.samples import Samples, bare_name
from trainer.models.heads import AGE_BINS
from trainer.soft_labels.distill import distillation_loss, softened

EMBEDDING = "embedding"
_WIDTHS = {"age": AGE_BINS, "gender": 2, "race": len(RACES)}
_ANSWERED = Config()
"""The heads whose answers the columns are: a distribution over years, two genders, five races."""
_SMALLEST = 1e-7


@dataclass(frozen=True)
class SoftLabels:
    """``columns``: float32 ``[N, W]`` by name, one row for each of ``names``."""

    names: tuple[str, ...]
    columns: Mapping[str, NDArray[np.float32]]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SoftLabels:
        """Read a file. Raises ``DataError`` where it is missing, damaged, or not of this form."""
        try:
            with safe_open(path, framework="numpy") as file:
                names = json.loads((file.metadata() or {}).get("names", "null"))
                columns = {key: file.get_tensor(key).astype(np.float32) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError) as error:
            raise DataError(f"cannot read `{path}`, the soft labels: {error}") from error
        _require_form(path, names, columns)
        return cls(tuple(names), columns)

    def save(self, path: Path) -> None:
        """Write them in half precision."""
        content = {name: np.ascontiguousarray(column, np.float16) for name, column in self.columns.items()}
        with atomic_path(path) as temporary:
            save_file(content, temporary, {"names": json.dumps(self.names)})

    def of(self, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """The rows of these images (paths of any form), NaN for those that the file does not know."""
        row_of = {name: row for row, name in enumerate(self.names)}
        rows = np.array([row_of.get(stem(name), -1) for name in names], np.int64)
        unknown = (rows < 0)[:, None]
        return {name: np.where(unknown, np.float32(np.nan), column[rows]) for name, column in self.columns.items()}


def stem(path: str) -> str:
    """The name by which files know an image: no folders, no endings."""
    return bare_name(path).rpartition("/")[2]


def attached(samples: Samples, config: Config) -> tuple[Samples, str]:
    """The samples with the recipe's soft labels, and a sentence for the log; as they are where it has none.

    Raises ``DataError`` where the file knows none of the training images, ``ConfigError`` where it does not fit.
    """
    if not config.soft_labels:
        return samples, ""
    soft = SoftLabels.load(config.soft_labels).of(map(str, samples.name))
    _require_fit(soft, config)
    rows = samples.rows(config.train_folds)
    known = int(np.all([np.isfinite(column[rows]).all(axis=1) for column in soft.values()], axis=0).sum())
    if not known:
        raise DataError(f"`{config.soft_labels}` knows none of the {len(rows)} training images by name")
    sentence = f"soft labels: {', '.join(soft)} of {known} of the {len(rows)} training images"
    return replace(samples, soft=soft), sentence


def _require_fit(columns: Mapping[str, NDArray[np.float32]], config: Config) -> None:
    """Raise ``ConfigError`` where a recipe cannot learn what its file of soft labels says."""
    width = columns[EMBEDDING].shape[1] if EMBEDDING in columns else 0
    if config.embedding and config.embedding != width:
        held = f"vectors of {width}" if width else "no column embedding"
        raise ConfigError(f"`embedding`: expected the width in `{config.soft_labels}`, which has {held}, "
                          f"found {config.embedding}")  # fmt: skip
    if not config.embedding and not set(columns) & set(config.tasks):
        raise ConfigError(f"`soft_labels`: `{config.soft_labels}` says nothing of {', '.join(config.tasks)}; "
                          "set `embedding` to learn its vectors")  # fmt: skip


def soft_losses(logits: Mapping[str, Tensor], soft: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Unweighted scalars "soft" (the answers) and "embedding", as far as the file has them; 0 without a known row.

    "soft" is ``distillation_loss``; "embedding" is 1 - cosine similarity. Rows of NaN are unknown.
    """
    losses: dict[str, Tensor] = {}
    tasks = [task for task in config.tasks if task in soft]
    if tasks:
        known = torch.stack([soft[task].isfinite().all(dim=1) for task in tasks]).all(dim=0)
        said = {task: soft[task][known].clamp_min(_SMALLEST).log() for task in tasks}
        answers = {task: softened(task, raw, _ANSWERED, config) for task, raw in said.items()}
        raw = {task: logits[task][known] for task in tasks}
        losses["soft"] = distillation_loss(raw, answers, config) if known.any() else logits[tasks[0]].sum() * 0
    if config.embedding:
        known = soft[EMBEDDING].isfinite().all(dim=1)
        likeness = F.cosine_similarity(logits[EMBEDDING], soft[EMBEDDING].nan_to_num(), dim=1)
        losses["embedding"] = torch.where(known, 1 - likeness, 0.0).sum() / known.sum().clamp_min(1)
    return losses


def _require_form(path: str | os.PathLike[str], names: object, columns: Mapping[str, NDArray[np.float32]]) -> None:
    if not isinstance(names, list) or not columns:
        raise DataError(f"`{path}`: expected columns and a list `names` in the metadata, found {', '.join(columns)}")
    for name, column in columns.items():
        width = _WIDTHS.get(name, column.shape[-1])
        if name not in (*_WIDTHS, EMBEDDING) or column.shape != (len(names), width):
            raise DataError(f"`{path}`: expected columns age, gender, race or embedding of {len(names)} rows and width "
                            f"{', '.join(map(str, _WIDTHS.values()))} or any, "
                            f"found {name} of {list(column.shape)}")  # fmt: skip
