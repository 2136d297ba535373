"""What a live source does between connections."""

import logging
import re
from collections.abc import Iterator

import numpy as np
import pytest

from edgeface.errors import SourceError
from edgeface.sources.base import Counters, SourceOptions
from edgeface.sources.live import CapturedFrame, LiveSource


class Camera:
    """A connection of ``frames`` frames that then breaks; 0: no answer."""

    finite = False

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def shots(self) -> Iterator[CapturedFrame]:
        if not self.frames:
            raise SourceError("no answer")
        for number in range(self.frames):
            yield CapturedFrame(np.zeros((4, 4, 3), np.uint8), number / 25, 0.0)

    def interrupt(self) -> None:
        return

    def close(self) -> None:
        return


def test_pauses_grow_without_an_answer_and_start_again_after_a_frame(caplog: pytest.LogCaptureFixture) -> None:
    attempts = iter([0, 0, 0, 2, 0, 1])
    seen: list[Camera] = []

    def connect(counters: Counters) -> Camera:
        try:
            seen.append(Camera(next(attempts)))
        except StopIteration:
            source.close()
            raise SourceError("over") from None
        return seen[-1]

    source = LiveSource("cam", connect, SourceOptions(backoff_s=(0.1, 0.8), give_up_s=None))
    with caplog.at_level(logging.INFO, "edgeface.live"):
        assert len(list(source.read())) == 3
    pauses = [float(found) for found in re.findall(r"next attempt in ([\d.]+) s", caplog.text)]
    longest = [0.1, 0.2, 0.4, 0.1, 0.2, 0.1]
    assert len(pauses) == len(longest)
    for pause, limit in zip(pauses, longest):
        assert 0.65 * limit <= pause <= limit + 0.05, (pauses, longest)
