"""What several looks at one person say together, and how sure that is.

The model. A look at time t says ``y_t = a + b + e_t``: the person's age ``a``, an error ``b`` that the network makes on
this person in every frame, and an error ``e_t`` of this frame (blur, pose, light). No number of looks removes ``b``;
``e_t`` of looks close in time are alike (an AR(1) process in continuous time, correlation ``exp(-dt / tau)``). So

- a look ``dt`` after the last one carries ``(1 - r) / (1 + r)``, ``r = exp(-dt / tau)``, of an independent look's
  information about ``a + b`` (the limit of generalised least squares for AR(1) errors), times its quality;
- with ``n`` such looks in all and the network's own spread ``s`` (the looks' weighted root mean square of ``age_std``),
  the posterior's variance is ``s² (k + (1 - k) / n)``: it never falls below the share ``k`` of ``b``.

Classes alike: the weighted mean of the looks' log probabilities, times ``n (1 + c) / (n + c)``: one good look says what
the network says, many say at most ``1 + c`` times as many log odds, bad ones less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeface.types import Attributes

Array = NDArray[np.float64]
_CLASSES = ("gender", "race")


@dataclass(frozen=True)
class PosteriorOptions:
    """The model's numbers, fitted on synthetic tracks of validation faces (``python -m benchmarks.studies.fusion_study
    --folds 2``).

    ``tau_s`` seconds after which a frame's error is a new one (to 1/e); ``shared`` the share ``k`` of the network's
    variance that stays with a person; ``sharpen`` the ``c`` of the classes; ``most_looks`` bounds ``n``, so that a
    change can still be learned. A label is given up when another is ``margin`` in log odds ahead, a shown age when
    the mean has moved from it by ``band`` of the frames' share of its spread or by ``band_years``.
    """

    tau_s: float = 0.5
    shared: float = 0.8
    sharpen: float = 0.5
    most_looks: float = 12.0
    margin: float = 0.7
    band: float = 2.0
    band_years: float = 4.0


@dataclass(frozen=True)
class Answer:
    """One row of ``types.Fused``: ``gender`` and ``race`` probabilities, the labels that are held; -1 for none."""

    age: float
    age_std: float
    gender: Array
    race: Array
    gender_label: int
    race_label: int


class Posterior:
    """The looks at one person so far. ``looks`` is their number ``n`` in units of independent perfect looks."""

    def __init__(self, options: PosteriorOptions) -> None:
        self._options = options
        self.looks = 0.0
        self._age = self._variance = 0.0
        self._logs: dict[str, Array] = {}
        self._shown_age = math.nan
        self._labels = dict.fromkeys(_CLASSES, -1)

    def worth(self, quality: float, since_s: float) -> float:
        """What a look of ``quality`` adds to ``looks``, ``since_s`` seconds after the last one."""
        if self.looks == 0:
            return quality
        alike = math.exp(-since_s / self._options.tau_s)
        return quality * (1 - alike) / (1 + alike)

    def add(self, row: Attributes, quality: float, since_s: float) -> None:
        """Take in one more look: ``row`` is a single row of what the network said."""
        weight = max(self.worth(quality, since_s), 1e-6)
        self.looks += weight
        share = weight / self.looks
        self._age += share * (float(row.age[0]) - self._age)
        self._variance += share * (float(row.age_std[0]) ** 2 - self._variance)
        for name in _CLASSES:
            logs = np.log(np.clip(getattr(row, name)[0].astype(np.float64), 1e-4, 1))
            known = self._logs.get(name, np.zeros_like(logs))
            self._logs[name] = known + share * (logs - known)
        self.looks = min(self.looks, self._options.most_looks)
        self._settle()

    def doubt(self, kept: float) -> None:
        """Something changed: keep only this share of what the looks so far weigh."""
        self.looks *= kept

    def surprise(self, row: Attributes) -> float:
        """How far a look is from the posterior: 1 is a spread of the network's age, or half the chances of a class."""
        distance = abs(float(row.age[0]) - self._age) / max(math.sqrt(self._variance), 1e-6)
        moved = [float(np.abs(getattr(row, name)[0] - self._chances(name)).sum()) for name in _CLASSES]
        return max(0.0, *(value for value in (distance, *moved) if not math.isnan(value)), 0.0)

    def answer(self) -> Answer:
        """The posterior as it stands. NaN without a look or, head by head, without the head."""
        if self.looks == 0:
            return Answer(math.nan, math.nan, np.full(2, np.nan), np.full(5, np.nan), -1, -1)
        gender, race = (self._chances(name) for name in _CLASSES)
        std = math.sqrt(self._variance * self._share(self._options.shared))
        return Answer(self._shown_age, std, gender, race, self._labels["gender"], self._labels["race"])

    def _share(self, shared: float) -> float:
        """The posterior's part of the network's variance, of which ``shared`` stays whatever comes."""
        return shared + (1 - shared) / self.looks

    def _chances(self, name: str) -> Array:
        odds = np.exp(self._sharpened(name))
        return np.asarray(odds / odds.sum(), np.float64)

    def _sharpened(self, name: str) -> Array:
        more = self._options.sharpen
        logs = self._logs[name] * (self.looks * (1 + more) / (self.looks + more))
        return np.asarray(logs - logs.max(), np.float64)

    def _settle(self) -> None:
        """Move what is shown only as far as the evidence compels."""
        noise = math.sqrt(max(self._variance * self._share(0.0) * (1 - self._options.shared), 0.0))
        hold = min(self._options.band * noise, self._options.band_years)
        if not abs(self._age - self._shown_age) <= hold:  # also where nothing is shown yet
            self._shown_age = self._age
        for name in _CLASSES:
            logs, held = self._sharpened(name), self._labels[name]
            if np.isnan(logs).any():
                continue
            if held < 0 or -logs[held] > self._options.margin:
                self._labels[name] = int(logs.argmax())
