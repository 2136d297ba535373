"""What networks answer, checked against what their specs promise: shapes, finite numbers, probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ArtifactError
from edgeface.spec.model import HeadSpec

_ROUNDING = 5e-3
"""Probabilities of a half-precision graph may be off by so much."""


def checked_head(head: HeadSpec, answer: NDArray[Any], count: int, model: str, values: bool = True) -> NDArray[Any]:
    """The output of a head for ``count`` faces: ``[N]``, or ``[N, labels]`` with probabilities.

    Raises ``ArtifactError`` for another shape and, with ``values``, for NaN, infinity and probabilities outside 0…1.
    """
    wanted = (count, len(head.labels)) if head.kind == "classification" else (count,)
    if answer.shape != wanted:
        fault = f"expected {list(wanted)}, found {list(answer.shape)}"
    elif values and not np.isfinite(answer).all():
        fault = "it holds what is not a finite number"
    elif (
        values
        and count
        and head.kind == "classification"
        and not (-_ROUNDING <= answer.min() <= answer.max() <= 1 + _ROUNDING)
    ):
        fault = f"expected probabilities from 0 to 1, found {answer.min():g} to {answer.max():g}"
    else:
        return answer
    raise ArtifactError(
        f"the output `{head.name}` of the network `{model}` does not fit its spec: {fault}; export the model again"
    )


def checked_maps(outputs: Mapping[str, NDArray[Any]], anchors: int, model: str) -> tuple[NDArray[Any], ...]:
    """Score ``[A]``, box ``[A, 4]`` and landmarks ``[A, 10]`` of one image from a detector of ours.

    Raises ``ArtifactError`` for other shapes, and for scores that are not numbers from 0 to 1 or boxes that are not
    finite.
    """
    for name, shape in (("score", (1, anchors)), ("box", (1, anchors, 4)), ("landmarks", (1, anchors, 10))):
        answer = outputs[name]
        if answer.shape != shape:
            fault = f"expected {list(shape)}, found {list(answer.shape)}"
        elif not np.isfinite(answer).all():
            fault = "it holds what is not a finite number"
        elif name == "score" and not (-_ROUNDING <= answer.min() <= answer.max() <= 1 + _ROUNDING):
            fault = f"expected scores from 0 to 1, found {answer.min():g} to {answer.max():g}"
        else:
            continue
        raise ArtifactError(
            f"the output `{name}` of the detector `{model}` does not fit its spec: {fault}; export the detector again"
        )
    return outputs["score"][0], outputs["box"][0], outputs["landmarks"][0]
