"""Soft labels from frozen networks: small heads on their embeddings, each image answered by heads that never saw it.

A face-recognition network has seen millions of faces and knows much about them that no label here says. Heads on its
embeddings (Alain, Bengio, "Understanding intermediate layers using linear classifier probes", 2016) turn that into
answers. They are cross-fitted by fold, as predictions that are to be learned from have to be (Wolpert, "Stacked
generalization", 1992): what a head says of images it was trained on repeats their labels, wrong ones as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeface.errors import DataError
from edgeface.evaluation import metrics
from edgeface.spec.model import RACES
from trainer.config import Config
from trainer.data.samples import SOURCES, Samples, load_samples
from trainer.models.heads import make_head
from trainer.models.predictions import with_missing_heads
from trainer.objective.gradients import backward
from trainer.objective.losses import Targets, task_losses
from trainer.soft_labels.labels import EMBEDDING, SoftLabels, stem

_DROPOUT = 0.5
_FAR = 8.0
"""Standard deviations beyond which a value of a vector is cut off."""
_BATCH = 256
_RATE = 1e-3
_WEIGHT_DECAY = 0.05

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Learning:
    """How probes learn: units of the hidden layer, passes over the images, and probes whose answers are averaged."""

    hidden: int = 1024
    epochs: int = 20
    members: int = 2


DEFAULT = Learning()


class Probe(nn.Module):
    """Embeddings ``[N, D]`` → raw outputs by task, through one hidden layer."""

    def __init__(self, width: int, hidden: int, config: Config):
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Dropout(_DROPOUT / 2),
            nn.Linear(width, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(_DROPOUT),
        )
        self.heads = nn.ModuleDict({task: make_head(task, hidden, config) for task in config.tasks})

    def forward(self, vectors: Tensor) -> dict[str, Tensor]:
        hidden = self.hidden(vectors)
        return {task: head(hidden) for task, head in self.heads.items()}


def write_soft_labels(config: Config, embeddings: Sequence[Path], out: Path, width: int, say: Say,
                      mirrored: Sequence[Path] = (), learning: Learning = DEFAULT) -> Path:  # fmt: skip
    """``soft_labels`` of a recipe's images, from files with a column "embedding", saved as ``out``."""
    views = [[SoftLabels.load(path) for path in paths] for paths in (embeddings, mirrored)]
    soft_labels(load_samples(config).samples, views[0], config, width, say, views[1], learning).save(out)
    return out


def soft_labels(samples: Samples, embeddings: Sequence[SoftLabels], config: Config, width: int, say: Say,
                mirrored: Sequence[SoftLabels] = (), learning: Learning = DEFAULT) -> SoftLabels:  # fmt: skip
    """Answers to the images of the recipe's training and validation folds, and their embeddings on ``width`` axes.

    Every fold's images are answered by heads trained on the labelled ones of the other training folds; ``say`` is
    told how well, fold by fold. With ``mirrored``, embeddings of the mirrored images by the same networks in the
    same order, heads learn from either and their answers to both are averaged. Images that one file lacks are left
    out; ``width`` 0 leaves the vectors out. Raises ``DataError``.
    """
    config = _plain(config)
    folds = sorted({*config.train_folds, *config.validation_folds})
    views = _views(embeddings, mirrored, samples)
    rows = samples.rows(folds)
    rows = rows[np.isfinite(views[:, rows]).all(axis=(0, 2))]
    training = np.intersect1d(rows, samples.rows(config.train_folds))
    training = training[_labelled(samples, training)]
    if not len(training):
        raise DataError("the embeddings have none of the recipe's training images, going by their names")
    if width > views.shape[2]:
        raise DataError(f"--width: expected at most the {views.shape[2]} dimensions there are, found {width}")
    views = (views - views[0, training].mean(axis=0)) / (views[0, training].std(axis=0) + 1e-6)
    views = views.clip(-_FAR, _FAR)
    columns = {task: np.empty((len(samples), size), np.float32) for task, size in _sizes(config).items()}
    for fold in folds:
        here, others = rows[samples.fold[rows] == fold], training[samples.fold[training] != fold]
        if len(here):
            for task, answer in _answered(views, samples, others, here, config, learning).items():
                columns[task][here] = answer
            say(f"fold {fold}: {_score(columns, samples, here)}")
    found = {task: column[rows] for task, column in columns.items()}
    if width:
        found[EMBEDDING] = _principal(views[0], training, width)[rows]
    return SoftLabels(tuple(stem(str(name)) for name in samples.name[rows]), found)


def _plain(config: Config) -> Config:
    """The recipe with heads that answer distributions, and losses that leave the data's own odds alone."""
    return dataclasses.replace(config, age_head="distribution", age_loss="distribution", gender_head="softmax",
                               gender_loss="cross-entropy", race_loss="cross-entropy", label_smoothing=0.0,
                               race_class_weights=(1.0,) * len(RACES), class_weighting="fixed", fairness_weight=0.0,
                               soft_labels="", embedding=0, decoder=False)  # fmt: skip


def _views(embeddings: Sequence[SoftLabels], mirrored: Sequence[SoftLabels], samples: Samples) -> NDArray[np.float32]:
    """Each image's embeddings of all files side by side, as they are and mirrored: ``[1 or 2, N, D]``.

    NaN where a file has none.
    """
    views = [_vectors(files, samples) for files in (embeddings, mirrored) if files]
    if len({view.shape[1] for view in views}) > 1:
        raise DataError(f"--mirrored: expected the same networks in the same order, {views[0].shape[1]} numbers an "
                        f"image, found {views[1].shape[1]}")  # fmt: skip
    return np.stack(views)


def _vectors(files: Sequence[SoftLabels], samples: Samples) -> NDArray[np.float32]:
    """Each image's embeddings of all files side by side, NaN where a file has none."""
    parts = []
    for file in files:
        if EMBEDDING not in file.columns:
            raise DataError(f"expected a column {EMBEDDING}, found {', '.join(file.columns)}")
        parts.append(file.of(map(str, samples.name))[EMBEDDING])
    return np.concatenate(parts, axis=1)


def _labelled(samples: Samples, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``rows`` have a label of any kind."""
    known = np.isfinite(samples.age) | (samples.low >= 0) | (samples.gender >= 0) | (samples.race >= 0)
    return np.asarray(known[rows])


def _sizes(config: Config) -> dict[str, int]:
    with torch.no_grad():
        raw = Probe(1, 1, config).eval()(torch.zeros(1, 1))
    return {task: values.shape[1] for task, values in raw.items()}


def _answered(views: NDArray[np.float32], samples: Samples, training: NDArray[np.int64], here: NDArray[np.int64],
              config: Config, learning: Learning) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """Probabilities by task of the images ``here``: what probes trained on those in ``training`` say on average."""
    answers = []
    known, targets = torch.from_numpy(views[:, training]), samples.targets(training)
    for member in range(learning.members):
        net = _trained(known, targets, config, learning, config.seed + member)
        with torch.inference_mode():
            raw = [net.eval()(torch.from_numpy(view[here])) for view in views]
        answers += [{task: torch.softmax(values, dim=1).numpy() for task, values in each.items()} for each in raw]
    return {task: np.mean([answer[task] for answer in answers], axis=0) for task in answers[0]}


def _trained(views: Tensor, targets: Targets, config: Config, learning: Learning, seed: int) -> Probe:
    """A probe that learned labels from vectors ``[V, N, D]``, each time from one of the ``V`` views of an image."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    net = Probe(views.shape[2], learning.hidden, config)
    optimizer = torch.optim.AdamW(net.parameters(), _RATE, weight_decay=_WEIGHT_DECAY)
    count = views.shape[1]
    steps = count // _BATCH
    if not steps:
        raise DataError(f"expected {_BATCH} training images or more in the other folds, found {count}")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps * learning.epochs)
    for _ in range(learning.epochs):
        for batch in torch.randperm(count, generator=random)[: steps * _BATCH].reshape(-1, _BATCH):
            view = torch.randint(len(views), (_BATCH,), generator=random)
            losses = task_losses(net(views[view, batch]), targets[batch], config)
            total = torch.stack([getattr(config, f"{task}_weight") * losses[task] for task in config.tasks]).sum()
            optimizer.zero_grad(set_to_none=True)
            backward(total)
            optimizer.step()
            schedule.step()
    return net


def _score(columns: dict[str, NDArray[np.float32]], samples: Samples, rows: NDArray[np.int64]) -> str:
    """The answers' metrics on ``rows``, source by source."""
    parts = []
    for code, source in enumerate(SOURCES):
        here = rows[(samples.source[rows] == code) & _labelled(samples, rows)]
        if len(here):
            given = {task: column[here] for task, column in columns.items() if task != "age"}
            if "age" in columns:
                given["age"] = columns["age"][here] @ np.arange(columns["age"].shape[1], dtype=np.float32)
            summary = metrics.summary(metrics.Answers.of(with_missing_heads(given, len(here))), samples.labels(here))
            shown = {name: value for name, value in summary.items() if name in _SHOWN}
            parts.append(f"{source} " + ", ".join(f"{name} {value:.4g}" for name, value in shown.items()))
    return "; ".join(parts)


_SHOWN = ("n", "age_mae", "age_interval_within1", "gender_accuracy", "race_accuracy")


def _principal(vectors: NDArray[np.float32], training: NDArray[np.int64], width: int) -> NDArray[np.float32]:
    """The vectors on the first ``width`` principal axes of the training images, float32 ``[N, width]``."""
    known = torch.from_numpy(vectors[training])
    _, axes = torch.linalg.eigh(known.T @ known / len(known))
    return np.asarray(torch.from_numpy(vectors) @ axes[:, -width:].flip(1))
