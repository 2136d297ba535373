"""Where in a crop an answer comes from, read off an attribute network's ONNX file without any training framework.

The graph is cut at its last feature map, the one that all answers come from. What follows is small and may be run
often: once for every place of the map. Where it is affine (pooling and a linear layer, whatever the pooling), the share
of a place is what the rest of the network makes of that place alone: a class activation map (Zhou et al., "Learning
deep features for discriminative localization", CVPR 2016). Where it is not (the expectation of an age distribution,
heads with hidden layers), all places fade in together from nothing to what they are, and the share of a place is what
it adds on the way: integrated gradients (Sundararajan et al., "Axiomatic attribution for deep networks", ICML 2017) of
the map. Either way the shares add up to the answer, less what the network answers to an empty map.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeface.errors import ImageError
from edgeface.explain.split_graph import cut, read_network
from edgeface.quantization.graph import Model
from edgeface.runtime.base import Backend
from edgeface.runtime.open import open_backend
from edgeface.types import Floats, Image

CAM, INTEGRATED, GRAD_CAM, ROLL_OUT = "cam", "integrated", "grad-cam", "roll-out"
"""Methods; the last two need gradients, so only the trainer has them."""
SHARES = (CAM, INTEGRATED)
"""Methods whose values add up to the answer."""
_PLACES = 64
"""Places run at a time, which bounds the memory of networks with large maps."""
_STEPS = 32
"""Of the way from an empty map; on the shipped network shares then add up to within a hundredth of a year."""


@dataclass(frozen=True, eq=False)
class HeadMap:
    """What every place of the last feature map adds to one head's answer for one crop.

    ``values`` float32 ``[K, h, w]``: for age ``K = 1``, in years; for gender and race a class's logit (scale and offset
    of the calibration included), in the spec's label order. Row 0 is the crop's top, column 0 its left. ``answers``
    float32 ``[K]`` are the age or the logits, ``bias`` what they would be without the map:
    ``values.sum((1, 2)) + bias`` is ``answers``, to rounding by the ``method`` "cam", to the error of a sum of 32 steps
    by "integrated". By the other methods there is one map ``[1, h, w]``, of the answer; its values are 0 or more and
    only compare with one another, and ``bias`` is NaN.
    """

    head: str
    values: Floats
    bias: Floats
    answers: Floats
    method: str

    @property
    def adds_up(self) -> bool:
        """Whether values are shares of the answer, with a sign."""
        return self.method in SHARES

    def evidence(self, index: int | None = None) -> Floats:
        """Float32 ``[h, w]``: what speaks for class ``index`` (default: the answer) against the mean of all classes.

        A softmax sees only differences of logits, so what all classes share is no evidence. A single map stays as it
        is.
        """
        if len(self.values) == 1:
            return np.asarray(self.values[0])
        chosen = int(self.answers.argmax()) if index is None else index
        return np.asarray(self.values[chosen] - self.values.mean(axis=0), np.float32)


class Explainer:
    """Explains single crops by the ONNX file of a convolutional attribute network (float or 8-bit).

    ``threads`` as in ``open_backend``. Raises ``MissingDependencyError`` without the extra ``quantize``,
    ``ArtifactError`` for a file that is no ONNX model, is in float16, or whose answers do not come from one feature
    map (a transformer, an ensemble), ``SpecError`` without a ``ModelSpec``, and ``BackendError`` for an 8-bit model
    that this processor would get wrong.
    """

    def __init__(self, model: str | os.PathLike[str], threads: int = 0) -> None:
        graph, self.spec = read_network(Path(model))
        parts = cut(graph, self.spec, f"`{model}`")
        self._targets = parts.targets
        with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
            self._trunk = opened.enter_context(_open(parts.trunk, Path(folder) / "trunk.onnx", threads))
            self._tail = opened.enter_context(_open(parts.tail, Path(folder) / "tail.onnx", threads))
            self._backends = opened.pop_all()

    def __call__(self, crop: Image) -> dict[str, HeadMap]:
        """Maps of every head by name for one aligned crop, uint8 ``[S, S, 3]`` RGB. Raises ``ImageError``."""
        size = self.spec.input_size
        if crop.dtype != np.uint8 or crop.shape != (size, size, 3):
            raise ImageError(f"crop: expected uint8 [{size}, {size}, 3], found {crop.dtype} {list(crop.shape)}")
        features = next(iter(self._trunk.infer({self._trunk.inputs[0].name: crop[None]}).values()))
        answers, empty = self._answers(features), self._answers(np.zeros_like(features))
        alone = self._alone(features, empty) if any(target.affine for target in self._targets) else {}
        added = {} if all(target.affine for target in self._targets) else self._added(features)
        return {
            head: HeadMap(
                head,
                (alone if affine else added)[tensor],
                empty[tensor][0],
                answers[tensor][0],
                CAM if affine else INTEGRATED,
            )
            for head, tensor, affine in self._targets
        }

    def close(self) -> None:
        """Free the networks; closing twice is harmless."""
        self._backends.close()

    def __enter__(self) -> Explainer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _answers(self, features: Floats) -> dict[str, Floats]:
        """Every output of the tail as ``[N, K]``."""
        found = self._tail.infer({self._tail.inputs[0].name: features})
        return {name: value.reshape(len(features), -1) for name, value in found.items()}

    def _alone(self, features: Floats, empty: Mapping[str, Floats]) -> dict[str, Floats]:
        """What the tail makes of each place alone, beyond what it makes of nothing."""
        parts = [self._answers(features * mask) for mask in _masks(features)]
        return _grids([{name: value - empty[name] for name, value in part.items()} for part in parts], features)

    def _added(self, features: Floats) -> dict[str, Floats]:
        """What each place adds while all of them fade in: midpoint rule along the way, central differences across."""
        parts, half = [], np.float32(0.5 / _STEPS)
        for mask in _masks(features):
            sums: dict[str, Floats] = {}
            for step in range(_STEPS):
                level = np.float32((step + 0.5) / _STEPS)
                more, less = (self._answers(features * (level + sign * half * mask)) for sign in (1, -1))
                sums = {name: sums.get(name, 0) + more[name] - less[name] for name in more}
            parts.append(sums)
        return _grids(parts, features)


def _open(model: Model, path: Path, threads: int) -> Backend:
    path.write_bytes(model.SerializeToString())
    return open_backend(path, threads)


def _masks(features: Floats) -> Iterator[Floats]:
    """Float32 ``[P, 1, h, w]``, one place of the map each, row by row, not too many at a time."""
    height, width = features.shape[2:]
    masks = np.eye(height * width, dtype=features.dtype).reshape(-1, 1, height, width)
    for start in range(0, len(masks), _PLACES):
        yield masks[start : start + _PLACES]


def _grids(parts: Sequence[Mapping[str, Floats]], features: Floats) -> dict[str, Floats]:
    """Values of all places, in parts ``[P, K]``, as ``[K, h, w]``."""
    return {
        name: np.concatenate([part[name] for part in parts]).T.reshape(-1, *features.shape[2:]) for name in parts[0]
    }
