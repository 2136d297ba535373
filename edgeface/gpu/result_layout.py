"""Where the answers of frames that are answered together lie: one block of the GPU's memory, down in one copy.

The number of faces of each frame, then every output of the attribute network for the largest bucket, then the faces
themselves, frame by frame: a copy of the block's beginning holds all attributes and as many faces as it is long.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edgeface.cuda.structs import FACE_BYTES, FACE_FLOATS, LIMIT
from edgeface.errors import SpecError
from edgeface.inference.outputs import checked_head
from edgeface.runtime.base import TensorInfo
from edgeface.spec.model import ModelSpec
from edgeface.types import Attributes, Faces

BUCKETS = (1, 2, 4, 8, 16, 32)
"""How many faces a captured sequence answers; more are answered in rounds."""
TOGETHER = 8
"""The most frames that are answered together."""
_HEADS = tuple(item.name for item in fields(Attributes))
_ALIGNMENT = 256


def bucket_for(count: int, buckets: tuple[int, ...] = BUCKETS) -> int:
    """The smallest bucket that holds ``count`` faces, or the largest."""
    return next((bucket for bucket in buckets if bucket >= count), buckets[-1])


def buckets_of(batches: tuple[int, int]) -> tuple[int, ...]:
    """The buckets of a network that takes batches from the first to the second number."""
    smallest, largest = batches
    return tuple(bucket for bucket in BUCKETS if smallest <= bucket <= largest) or (min(largest, BUCKETS[-1]),)


@dataclass(frozen=True)
class ResultLayout:
    """Byte offsets of each output and of the faces; ``heads`` are the outputs that ``Attributes`` has a field for, with
    what the ``spec`` says of them."""

    outputs: Mapping[str, tuple[TensorInfo, int]]
    faces: int
    heads: tuple[str, ...]
    spec: ModelSpec

    @classmethod
    def of(cls, outputs: tuple[TensorInfo, ...], spec: ModelSpec) -> ResultLayout:
        """Raises ``SpecError`` where an output that the ``spec`` promises is missing or one has a free size."""
        places, offset = {}, _ALIGNMENT
        for info in outputs:
            row = [size for size in info.shape[1:] if size is not None]
            if len(row) + 1 != len(info.shape):
                raise SpecError(f"output `{info.name}` has the shape {info.shape}, expected only its batch to be free")
            places[info.name] = (info, offset)
            size = BUCKETS[-1] * math.prod(row) * info.dtype.itemsize
            offset += -(-size // _ALIGNMENT) * _ALIGNMENT
        heads = tuple(head.name for head in spec.heads if head.name in _HEADS)
        missing = [name for name in heads if name not in places]
        if missing or not heads:
            wanted = ", ".join(missing or _HEADS)
            raise SpecError(f"the attribute network lacks the output {wanted}; export the model again")
        return cls(places, offset, heads, spec)

    @property
    def size(self) -> int:
        """Bytes of the whole block."""
        return self.length(TOGETHER - 1, LIMIT)

    def length(self, frame: int, faces: int) -> int:
        """Bytes of the beginning that holds all attributes and the first ``faces`` faces of this and earlier frames."""
        return self.faces_at(frame) + FACE_BYTES * min(faces, LIMIT)

    def faces_at(self, frame: int) -> int:
        """Offset of the faces of the frame of this number."""
        return self.faces + FACE_BYTES * LIMIT * frame

    @staticmethod
    def count_at(frame: int) -> int:
        """Offset of how many faces the frame has."""
        return 4 * frame

    def addresses(self, block: int) -> dict[str, int]:
        """The address of every output in a block."""
        return {name: block + offset for name, (_, offset) in self.outputs.items()}

    def shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """The shape of every output of a batch."""
        return {name: (batch, *(size or 0 for size in info.shape[1:])) for name, (info, _) in self.outputs.items()}

    def count(self, block: NDArray[np.uint8], frame: int = 0) -> int:
        """How many faces the frame has."""
        return int(block[self.count_at(frame) :][:4].view(np.int32)[0])

    def read_faces(self, block: NDArray[np.uint8], frame: int, count: int) -> Faces:
        """The first ``count`` faces of the frame."""
        start = self.faces_at(frame)
        rows = block[start : start + FACE_BYTES * count].view(np.float32).reshape(-1, FACE_FLOATS)
        return Faces(rows[:, :4], rows[:, 4], rows[:, 5:].reshape(-1, 5, 2))

    def read_attributes(self, block: NDArray[np.uint8], count: int, first: int = 0) -> Attributes:
        """The heads of ``count`` crops of the round from ``first`` on; NaN for a head that the network lacks.

        Raises ``ArtifactError`` for answers that the spec does not allow.
        """
        given = {
            name: checked_head(self.spec.head(name), self._output(block, name, first, count), count, self.spec.name)
            for name in self.heads
        }
        if len(given) == len(_HEADS):
            return Attributes(**given)
        return dataclasses.replace(Attributes.unknown(count), **given)

    def _output(self, block: NDArray[np.uint8], name: str, first: int, count: int) -> NDArray[np.float32]:
        info, offset = self.outputs[name]
        row = [size or 0 for size in info.shape[1:]]
        size = math.prod(row) * info.dtype.itemsize
        rows = block[offset + size * first : offset + size * (first + count)]
        return np.asarray(rows.view(info.dtype).reshape(count, *row), np.float32)
