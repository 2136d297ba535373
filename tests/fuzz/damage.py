"""Seeded damage to files, and what a reader of damaged files may do: its own errors, little memory, no hang."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

SLOWEST_S = 10
MOST_BYTES = 1 << 30


def damaged(data: bytes, seed: int) -> bytes:
    """One of six kinds of damage, in the header more often than elsewhere."""
    chance = np.random.default_rng(seed)
    out = bytearray(data)
    kind = seed % 6
    if kind == 0:  # a few bytes
        for _ in range(int(chance.integers(1, 12))):
            out[_place(chance, len(out))] = int(chance.integers(256))
    elif kind == 1:  # cut off
        del out[_place(chance, len(out)) :]
    elif kind == 2:  # a run of noise
        at = _place(chance, len(out))
        noise = chance.bytes(int(chance.integers(1, 64)))
        out[at : at + len(noise)] = noise
    elif kind == 3:  # the values that lengths and sizes break at
        at = _place(chance, len(out))
        width = int(chance.choice([1, 2, 4, 8]))
        out[at : at + width] = bytes([int(chance.choice([0, 0x7F, 0x80, 0xFF]))]) * width
    elif kind == 4:  # a part taken out
        at = _place(chance, len(out))
        del out[at : at + int(chance.integers(1, 64))]
    else:  # a part put in twice
        at = _place(chance, len(out))
        out[at:at] = out[at : at + int(chance.integers(1, 64))]
    return bytes(out)


def _place(chance: np.random.Generator, length: int) -> int:
    """Half of all places lie in the first 200 bytes."""
    most = min(length, 200) if chance.random() < 0.5 else length
    return int(chance.integers(max(1, most)))


@contextmanager
def no_hang(seconds: int = SLOWEST_S) -> Iterator[None]:
    """Raise ``TimeoutError`` inside after ``seconds``."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail where memory's peak rises to more than ``MOST_BYTES``, or by more than half of it over an earlier peak."""
    before = peak_bytes()
    yield
    assert peak_bytes() <= max(MOST_BYTES, before + MOST_BYTES // 2), f"{peak_bytes() / 1e6:.0f} MB at the peak"
