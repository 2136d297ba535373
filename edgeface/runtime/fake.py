"""A backend without a model: deterministic answers for tests, dry runs and users' own tests."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import BackendError
from edgeface.runtime.base import Feed, OpenModel, TensorInfo, check_feed

Answer = Callable[[Feed], Mapping[str, NDArray[Any]]]


class FakeBackend(OpenModel):
    """Answers like a model with these ``inputs`` and ``outputs``.

    ``answer`` computes the outputs from the feed. Without it every output is noise in 0…1 that depends only on
    ``seed``, the output's name and the fed bytes; a free first size of an output is the batch of the first input,
    other free sizes are 1. ``calls`` counts the inferences.
    """

    device = "no device (fake)"

    def __init__(
        self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], answer: Answer | None = None, seed: int = 0
    ) -> None:
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._answer, self._seed = answer, seed
        self._closed = False
        self.calls = 0

    def infer(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """All outputs by name. Raises ``BackendError`` on a wrong feed or answer, or after ``close``."""
        if self._closed:
            raise BackendError("this backend is closed, open it again")
        check_feed(self._inputs, feed)
        self.calls += 1
        answers = dict(self._answer(feed)) if self._answer else {o.name: self._noise(o, feed) for o in self._outputs}
        if set(answers) != {info.name for info in self._outputs}:
            raise BackendError(f"expected outputs {sorted(o.name for o in self._outputs)}, found {sorted(answers)}")
        return answers

    def _noise(self, output: TensorInfo, feed: Feed) -> NDArray[Any]:
        first = feed[self._inputs[0].name]
        free = [len(first), *[1] * len(output.shape)]
        shape = [free[axis] if size is None else size for axis, size in enumerate(output.shape)]
        digest = zlib.crc32(output.name.encode())
        for info in self._inputs:
            digest = zlib.crc32(np.ascontiguousarray(feed[info.name]).tobytes(), digest)
        return np.random.default_rng([self._seed, digest]).random(shape).astype(output.dtype)

    def close(self) -> None:
        self._closed = True
