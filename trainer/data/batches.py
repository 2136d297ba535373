"""The way of crops and labels to the device: resident there where they fit, else read ahead from the memory map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.samples import Samples
from trainer.objective.losses import Targets

_RESIDENT_FRAC = 0.5
"""Of the device's free memory that crops may fill; activations need the rest."""
_READ_AHEAD = 3


class Batch(NamedTuple):
    """``crops`` uint8 ``[N, S, S, C]`` (a fourth channel holds face masks) and labels, both on the device."""

    crops: Tensor
    targets: Targets


class BatchLoader:
    """Batches of ``samples`` on ``device``; only ``rows`` (the training images) will be asked for."""

    def __init__(self, samples: Samples, rows: NDArray[np.int64], device: torch.device):
        self.samples, self.device = samples, device
        self.targets = samples.targets(np.arange(len(samples))).to(device)
        self.resident: Tensor | None = None
        if device.type == "cuda" and self._bytes(len(rows)) < _RESIDENT_FRAC * torch.cuda.mem_get_info(device)[0]:
            self.resident = self._uploaded(rows)
            self.place = torch.full((len(samples),), -1, dtype=torch.int64)
            self.place[torch.from_numpy(rows)] = torch.arange(len(rows))

    def batches(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[Batch]:
        """A ``Batch`` for each array of row numbers, those that are not resident read while the last ones train."""
        if self.resident is not None:
            for rows in batches:
                yield Batch(self.resident[self.place[rows].to(self.device, non_blocking=True)], self._targets(rows))
            return
        batches = list(batches)
        for rows, crops in zip(batches, _ahead(self._host, batches)):
            yield Batch(crops.to(self.device, non_blocking=True), self._targets(rows))

    def _targets(self, rows: NDArray[np.int64]) -> Targets:
        return self.targets[torch.from_numpy(rows).to(self.device, non_blocking=True)]

    def _host(self, rows: NDArray[np.int64]) -> Tensor:
        """Crops in memory, with their masks as a fourth channel."""
        pixels = self.samples.pixels[rows]
        if self.samples.masks is not None:
            pixels = np.concatenate([pixels, self.samples.masks[rows][..., None]], axis=3)
        crops = torch.from_numpy(pixels)
        return crops.pin_memory() if self.device.type == "cuda" else crops

    def _uploaded(self, rows: NDArray[np.int64]) -> Tensor:
        side, channels = self.samples.pixels.shape[1], 3 if self.samples.masks is None else 4
        out = torch.empty((len(rows), side, side, channels), dtype=torch.uint8, device=self.device)
        for start in range(0, len(rows), 1024):
            out[start : start + 1024] = self._host(rows[start : start + 1024]).to(self.device)
        return out

    def _bytes(self, count: int) -> int:
        return count * int(self.samples.pixels.shape[1]) ** 2 * (3 if self.samples.masks is None else 4)


def _ahead(work: Callable[[NDArray[np.int64]], Tensor], items: Iterable[NDArray[np.int64]]) -> Iterator[Tensor]:
    """``work`` of each item in order, done by another thread a few items ahead."""
    with ThreadPoolExecutor(1) as pool:
        waiting = iter(items)
        jobs = [pool.submit(work, item) for item in islice(waiting, _READ_AHEAD)]
        while jobs:
            done = jobs.pop(0).result()
            jobs += [pool.submit(work, item) for item in islice(waiting, 1)]
            yield done
