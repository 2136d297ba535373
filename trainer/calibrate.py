"""Fit a calibration on held-out faces: temperatures, the width of the age interval, and odds of races.

Temperature: Guo et al., "On calibration of modern neural networks", ICML 2017. Width of the age interval: the split
conformal quantile of scaled residuals, Lei et al., "Distribution-free predictive inference for regression", JASA 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import erf, exp, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeface.errors import ConfigError
from edgeface.evaluation.metrics import AGE_INTERVALS, Labels, recalls
from edgeface.evaluation.reliability import Z90
from edgeface.spec.model import RACES
from edgeface.types import Attributes
from trainer.config import Config
from trainer.data.samples import Samples
from trainer.models.calibration_values import Calibration

_COVERAGE = 0.9
_FEWEST = 50
"""With fewer labelled faces than this a figure is left as it is: it would be fitted to chance."""
_FEWEST_FOR_POWER = 500
_LOG_RANGE = log(8.0)
"""Scales and temperatures are sought between an eighth and eight."""
_AGE_TEMPERATURES = (0.25, 4.0)
"""Below, the age is the likeliest year, which jumps with the least noise."""
_BIAS_STEP = 0.02
_MOST_STEPS = 1000


def fit_calibration(
    net: nn.Module, samples: Samples, rows: NDArray[np.int64], device: torch.device, race_floor: float = 0.0
) -> Calibration:
    """Calibration of a network on the faces ``rows`` of ``samples``, which it must not have been trained on."""
    if not len(rows):
        return Calibration()
    return fit_network(net, samples.pixels[rows], samples.labels(rows), device, race_floor)


def fit_network(
    net: nn.Module, pixels: NDArray[np.uint8], labels: Labels, device: torch.device, race_floor: float = 0.0
) -> Calibration:
    """Calibration of a network on crops uint8 ``[N, S, S, 3]``, which it must not have been trained on."""
    from trainer.models.predictions import age_logits_of, attributes_of

    temperature = 1.0
    if (raw := age_logits_of(net, pixels, device)) is not None:
        temperature = fit_age_temperature(raw, labels, net.config)  # type: ignore[arg-type]
    answers = attributes_of(net, pixels, device, Calibration(age_temperature=temperature))
    return replace(fit_answers(answers, labels, race_floor), age_temperature=temperature)


def fit_age_temperature(raw: NDArray[np.float32], labels: Labels, config: Config) -> float:
    """The temperature of the ages' raw outputs ``[N, K]`` whose ages err by the fewest years.

    Where only age intervals are known (FairFace), the years beyond the interval count.
    """
    import torch

    from trainer.models.heads import age_answer

    exact, censored = np.isfinite(labels.age), labels.interval >= 0
    known = exact if np.count_nonzero(exact) >= _FEWEST else censored
    if config.age_head == "regression" or np.count_nonzero(known) < _FEWEST:
        return 1.0
    ends = np.array(AGE_INTERVALS, np.float64)[labels.interval] + (0.0, 1.0)
    low, high = (np.where(exact, labels.age, end)[known] for end in ends.T)
    said = torch.from_numpy(raw[known])

    def error(temperature: float) -> float:
        age = age_answer(said, config, temperature)[0].numpy()
        return float(np.maximum(np.maximum(low - age, age - high), 0).mean())

    return float(np.clip(_least(error), *_AGE_TEMPERATURES))


def fit_answers(answers: Attributes, labels: Labels, race_floor: float = 0.0) -> Calibration:
    """Calibration of uncalibrated answers, their ages being as they are.

    A head that is absent (NaN) or has few labels stays as it is.

    ``race_floor`` (0…1) is the recall that every race is to reach; 0 leaves the odds as they are. It costs accuracy:
    biases are raised in small steps, always that of the race that is recalled least.
    """
    bias = _race_bias(answers.race, labels.race, race_floor)
    power = _age_power(answers, labels)
    powered = replace(answers, age_std=Calibration(age_std_power=power).spread(answers.age_std))
    return Calibration(
        age_std_scale=round(_age_scale(powered, labels), 4),
        age_std_power=power,
        gender_temperature=_temperature(_logits(answers.gender), labels.gender),
        race_temperature=_temperature(_logits(answers.race) + bias, labels.race),
        race_bias=tuple(float(value) for value in bias.round(4)),
    )


def adjusted(like: Calibration, before: Attributes, after: Attributes, labels: Labels) -> Calibration:
    """``like``, which suits the answers ``before``, changed by as much as fits to ``after`` and to ``before`` differ.

    For faces that both networks were trained on: either fit alone is flattered there, their ratio hardly. Both answers
    are uncalibrated but for ``like``'s age temperature. Odds and the power of ``age_std`` stay.
    """

    def fits(answers: Attributes) -> tuple[float, float, float]:
        spread = Calibration(age_std_power=like.age_std_power).spread(answers.age_std)
        race = _logits(answers.race) + np.array(like.race_bias)
        scale = _age_scale(replace(answers, age_std=spread), labels)
        return scale, _temperature(_logits(answers.gender), labels.gender), _temperature(race, labels.race)

    scale, gender, race = (new / old for new, old in zip(fits(after), fits(before)))
    return replace(
        like,
        age_std_scale=round(like.age_std_scale * scale, 4),
        gender_temperature=round(like.gender_temperature * gender, 4),
        race_temperature=round(like.race_temperature * race, 4),
    )


def _age_power(answers: Attributes, labels: Labels) -> float:
    """The power of ``age_std`` under which exact ages are likeliest, errors being normal and the scale the best."""
    std = np.asarray(answers.age_std, np.float64)
    away = np.abs(np.asarray(labels.age, np.float64) - answers.age)
    known = np.isfinite(away) & (std > 1e-3)
    if np.count_nonzero(known) < _FEWEST_FOR_POWER or np.ptp(std[known]) < 0.1:
        return 1.0
    levels, errors = np.log(std[known]), away[known]

    def surprise(power: float) -> float:
        return float(power * levels.mean() + 0.5 * np.log(np.mean((errors / np.exp(power * levels)) ** 2)))

    return float(np.clip(_least(surprise), 0.5, 2.0))


def _age_scale(answers: Attributes, labels: Labels) -> float:
    """Factor of ``age_std`` at which the 90 % interval holds 90 % of the exact ages.

    Where only age intervals are known (FairFace), the likeliest factor of a normal error.
    """
    age, std = np.asarray(answers.age, np.float64), np.maximum(np.asarray(answers.age_std, np.float64), 1e-3)
    exact = np.isfinite(labels.age) & np.isfinite(age)
    if np.count_nonzero(exact) >= _FEWEST:
        ratios = np.sort(np.abs(labels.age - age)[exact] / (Z90 * std[exact]))
        rank = min(int(np.ceil(_COVERAGE * (len(ratios) + 1))), len(ratios))  # one more face than seen: conformal
        return float(np.clip(ratios[rank - 1], exp(-_LOG_RANGE), exp(_LOG_RANGE)))
    censored = (labels.interval >= 0) & np.isfinite(age)
    if np.count_nonzero(censored) < _FEWEST:
        return 1.0
    ends = np.array(AGE_INTERVALS, np.float64)[labels.interval[censored]] + (0.0, 1.0)
    away = (ends - age[censored, None]) / std[censored, None]
    away[ends == AGE_INTERVALS[0][0]] = -np.inf  # no one is younger than that

    def surprise(scale: float) -> float:
        inside = np.diff(_normal_cdf(away / scale), axis=1)
        return float(-np.log(np.maximum(inside, 1e-9)).mean())

    return _least(surprise)


def _temperature(logits: NDArray[np.float64], label: NDArray[Any]) -> float:
    """The temperature at which the labels are likeliest."""
    known = (np.asarray(label) >= 0) & np.isfinite(logits).all(axis=1)
    if np.count_nonzero(known) < _FEWEST:
        return 1.0
    rows, said = np.asarray(label)[known], logits[known]

    def surprise(temperature: float) -> float:
        chances = _softmax(said / temperature)[np.arange(len(rows)), rows]
        return float(-np.log(np.maximum(chances, 1e-30)).mean())

    return _least(surprise)


def _race_bias(race: NDArray[Any], label: NDArray[Any], floor: float) -> NDArray[np.float64]:
    """Biases under which every race's recall reaches ``floor``, none larger than need be. Raises ``ConfigError``."""
    bias, logits = np.zeros(len(RACES)), _logits(race)
    known = (np.asarray(label) >= 0) & np.isfinite(logits).all(axis=1)
    if floor <= 0 or np.count_nonzero(known) < _FEWEST:
        return bias
    for _ in range(_MOST_STEPS):
        found = np.nan_to_num(recalls((logits[known] + bias).argmax(axis=1), label[known], len(RACES)), nan=1.0)
        if found.min() >= floor:
            return bias
        bias[found.argmin()] += _BIAS_STEP
    raise ConfigError(f"race_floor {floor}: no odds of the races bring every recall there; ask for a lower floor")


def _least(cost: Callable[[float], float]) -> float:
    """Where ``cost`` of a positive number is least: golden-section search over its logarithm."""
    ratio = (5**0.5 - 1) / 2
    low, high = -_LOG_RANGE, _LOG_RANGE
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if cost(exp(left)) < cost(exp(right)):
            high = right
        else:
            low = left
    return round(exp((low + high) / 2), 4)


def _logits(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Logits of a softmax, up to a constant per row."""
    return np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-30))  # NaN stays NaN


def _softmax(logits: NDArray[np.float64]) -> NDArray[Any]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


_normal_cdf = np.vectorize(lambda value: 0.5 * (1.0 + erf(value / 2**0.5)), otypes=[np.float64])
