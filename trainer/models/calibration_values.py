"""Answers that mean what they say: temperatures, the width of the age interval, and odds of races, from held-out faces.

Probabilities and the age's spread are fitted on what a network *answers*, since the logarithm of a softmax is its
logits up to a constant; the age's own temperature needs the distribution behind it. ``trainer.models.heads.Answer``
puts the result into the exported graph.
Temperature: Guo et al., "On calibration of modern neural networks", ICML 2017. Width of the age interval: the split
conformal quantile of scaled residuals, Lei et al., "Distribution-free predictive inference for regression", JASA 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from edgeface.errors import ConfigError
from edgeface.spec.model import RACES

if TYPE_CHECKING:
    pass

Number = TypeVar("Number", bound=Any)
"""A tensor or an array."""

_TYPICAL_STD = 5.0
"""Years, near the middle of what networks answer, so that scale and power hardly depend on each other."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What is done to raw answers; the default does nothing.

    The age is the expectation of its distribution at ``age_temperature``: 1 has the least squared error, less moves it
    towards the distribution's mode, and on the way, near its median, lies the least absolute error.
    ``age_std`` becomes ``age_std_scale`` · 5 · (age_std / 5) ** ``age_std_power`` years: a power above 1 tells sure and
    unsure answers further apart. Probabilities are ``softmax(logits / gender_temperature)`` and
    ``softmax((logits + race_bias) / race_temperature)``: which class wins depends on ``race_bias`` alone.
    """

    age_temperature: float = 1.0
    age_std_scale: float = 1.0
    age_std_power: float = 1.0
    gender_temperature: float = 1.0
    race_temperature: float = 1.0
    race_bias: tuple[float, ...] = (0.0,) * len(RACES)

    def __post_init__(self) -> None:
        positive = (self.age_std_scale, self.age_std_power, *self._temperatures)
        if not all(0 < value < float("inf") for value in positive) or len(self.race_bias) != len(RACES):
            wanted = f"expected scale, power and temperatures above 0 and {len(RACES)} race biases"
            raise ConfigError(f"calibration: {wanted}, found {self}")

    @property
    def _temperatures(self) -> tuple[float, ...]:
        return self.age_temperature, self.gender_temperature, self.race_temperature

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint and for the spec's training notes."""
        return {**asdict(self), "race_bias": list(self.race_bias)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Calibration:
        """The reverse of ``to_dict``; keys that are missing keep their default."""
        names = ("age_temperature", "age_std_scale", "age_std_power", "gender_temperature", "race_temperature")
        values = {key: raw[key] for key in names if key in raw}
        return cls(**values, race_bias=tuple(raw.get("race_bias", cls.race_bias)))

    def spread(self, age_std: Number) -> Number:
        """Calibrated spread in years of a network's own: a tensor or an array."""
        spread: Number = age_std * self.age_std_scale
        if self.age_std_power != 1:
            spread = (age_std / _TYPICAL_STD) ** self.age_std_power * (_TYPICAL_STD * self.age_std_scale)
        return spread
