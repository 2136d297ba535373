"""What is wrong with a recipe's data, as far as a machine can see it: a page with images, JSON, and names to exclude.

Nothing is judged here: the page shows what a person should look at. Images of held-out folds that training would see
in other clothes (cropped, re-encoded, under another date) are listed in ``near-duplicates.txt``, which a recipe's
``exclude`` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.calibration.images import HELD_OUT, LOOK_ALIKE_LEVELS, fold_thumbnails, nearest
from edgeface.evaluation.datasets import FOLDS, FaceSet
from edgeface.evaluation.metrics import AGE_BANDS
from edgeface.spec.model import GENDERS, RACES
from edgeface.types import Attributes
from trainer.data.samples import SOURCES, Samples, bare_name

TEST_FOLDS = HELD_OUT[:2]
SHOWN = 48
"""Images of a kind on the page; the JSON has all."""
_OLD_YEARS = 100
_BABY_YEARS = 1


@dataclass(frozen=True)
class LookAlike:
    """An image that nearly equals one of a fold that it must not help to answer; ``distance`` in grey levels."""

    source: str
    name: str
    fold: int
    like: str
    like_fold: int
    distance: float


@dataclass(frozen=True)
class Oddity:
    """A label (``said``) that a network doubts: its own ``answer`` and how sure or how far off it is."""

    source: str
    name: str
    fold: int
    said: str
    answer: str
    amount: float


@dataclass(frozen=True)
class DataReport:
    """All findings. ``counts``: images by source, then fold, gender, race and age band."""

    counts: dict[str, dict[str, dict[str, int]]]
    malformed: dict[str, list[str]]
    unreadable: dict[str, list[str]]
    missed: dict[str, int]
    look_alikes: list[LookAlike]
    odd: dict[str, list[Oddity]]


def find_look_alikes(sets: dict[str, list[FaceSet]]) -> list[LookAlike]:
    """Images of training folds that nearly equal held-out ones, and of the validation fold that equal test ones.

    Within a source, by the thumbnails that ``edgeface calibration`` uses; of each its nearest, the nearest first.
    """
    found: list[LookAlike] = []
    for source, data in sets.items():
        folds = {face.name: face.fold for item in data for face in item.faces}
        test, validation, training = (
            fold_thumbnails(data, wanted) for wanted in (TEST_FOLDS, HELD_OUT[2:], set(range(FOLDS)) - set(HELD_OUT))
        )
        held_out = ([*test[0], *validation[0]], np.concatenate([test[1], validation[1]]))
        for (names, vectors), (others, other_vectors) in ((training, held_out), (validation, test)):
            distances, rows = nearest(vectors, other_vectors)
            for index in np.flatnonzero(distances <= LOOK_ALIKE_LEVELS):
                name, like = names[index], others[rows[index]]
                distance = round(float(distances[index]), 2)
                found.append(LookAlike(source, name, folds[name], like, folds[like], distance))
    return sorted(found, key=lambda item: item.distance)


def exclude_list(look_alikes: Sequence[LookAlike]) -> str:
    """The text of an ``exclude`` file: a line of explanation and the names, each once, in order."""
    head = (
        "# Images of folds 3 to 9 that nearly equal one of folds 0 to 2 (the same photograph under another date,\n"
        "# often with another age), and of fold 2 that nearly equal one of folds 0 and 1: training leaves them out.\n"
        "# Found by: python -m trainer report data RECIPE\n"
    )
    return head + "".join(f"{name}\n" for name in sorted({_listed(item) for item in look_alikes}))


def _listed(item: LookAlike) -> str:
    """The part of an image's name that every copy of its data set has."""
    parts = bare_name(item.name).split("/")
    return "/".join(parts[-{"utkface": 1, "fairface": 2}.get(item.source, len(parts)) :])


def odd_labels(samples: Samples, answers: Attributes | None) -> dict[str, list[Oddity]]:
    """Labels worth a look, the oddest first: extreme ages, and with ``answers`` what a network disagrees with."""
    age = np.nan_to_num(samples.age, nan=-1.0)
    if answers is None:
        rows = np.flatnonzero(age >= _OLD_YEARS)
        rows = rows[np.argsort(-age[rows], kind="stable")]
        return {
            f"age {_OLD_YEARS} and more": [
                _oddity(samples, row, f"{age[row]:g} y", "", age[row]) for row in rows.tolist()
            ]
        }
    out: dict[str, list[Oddity]] = {}
    errors = np.where(age >= 0, np.abs(answers.age - age), 0.0)
    for title, wanted in (
        (f"age label {_BABY_YEARS}, answer far off", age == _BABY_YEARS),
        (f"age label {_OLD_YEARS} and more", age >= _OLD_YEARS),
        ("other ages far off", (age >= 0) & (age != _BABY_YEARS) & (age < _OLD_YEARS)),
    ):
        out[title] = [
            _oddity(samples, row, f"{age[row]:g} y", f"{answers.age[row]:.0f} y", errors[row])
            for row in _largest(np.where(wanted, np.nan_to_num(errors), 0.0), at_least=20.0)
        ]
    for title, label, probabilities, names in (
        ("gender", samples.gender, answers.gender, GENDERS),
        ("race", samples.race, answers.race, RACES),
    ):
        sure = np.nan_to_num(probabilities)
        winner = sure.argmax(axis=1)
        doubt = np.where((label >= 0) & (winner != label), sure.max(axis=1), 0.0)
        out[f"{title} answered otherwise"] = [
            _oddity(samples, row, names[label[row]], names[winner[row]], doubt[row])
            for row in _largest(doubt, at_least=0.9)
        ]
    return out


def _largest(values: NDArray[Any], at_least: float) -> list[int]:
    """Rows of ``values`` from ``at_least`` on, the largest first."""
    rows = np.flatnonzero(values >= at_least)
    return [int(row) for row in rows[np.argsort(-values[rows], kind="stable")]]


def _oddity(samples: Samples, row: int, said: str, answer: str, amount: float) -> Oddity:
    source = SOURCES[samples.source[row]]
    return Oddity(source, str(samples.name[row]), int(samples.fold[row]), said, answer, round(float(amount), 3))


def counts_by_group(samples: Samples, source: int) -> dict[str, dict[str, int]]:
    rows = np.flatnonzero(samples.source == source)
    labels = samples.labels(rows)
    axes: dict[str, tuple[NDArray[Any], Sequence[str]]] = {
        "fold": (samples.fold[rows], [str(fold) for fold in range(FOLDS)]),
        "gender": (labels.gender, GENDERS),
        "race": (labels.race, RACES),
        "age": (labels.bands(), AGE_BANDS),
    }
    return {
        axis: {name: int(np.sum(codes == code)) for code, name in enumerate(names)}
        | ({"unknown": int(np.sum(codes < 0))} if (codes < 0).any() else {})
        for axis, (codes, names) in axes.items()
    }
