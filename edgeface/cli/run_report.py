"""What ``edgeface run`` says of itself: a line now and then, and one at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeface.common.console import log_line

if TYPE_CHECKING:
    from edgeface.pipeline.run_stats import RunStats, RunSummary


def in_words(summary: RunSummary, counts_only: bool = False) -> str:
    """What a run did, with its throughput and where the time went; ``counts_only`` tells nothing of people."""
    stages = ", ".join(f"{name} {laps['mean']:.1f}" for name, laps in summary.stages_ms.items())
    who = "" if counts_only else f", {_count(summary.faces, 'face', 'faces')}"
    if (summary.tracks or not summary.faces) and not counts_only:  # photographs have faces, but no one is followed
        who += f", {_count(summary.tracks, 'person', 'people')}"
    text = f"{_count(summary.frames, 'frame', 'frames')}{who} in {summary.seconds:.1f} s: {summary.fps:.1f} frames/s"
    if stages and not counts_only:
        text += f" (mean ms a frame: {stages})"
    if not summary.ages_ms:
        return text
    ages = ", ".join(f"{name} {ms:.0f}" for name, ms in summary.ages_ms.items())
    reconnects = sum(source.counters.reconnects for source in summary.sources)
    return f"{text}; {summary.dropped} frames dropped, {reconnects} reconnects, age in ms: {ages}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


@contextmanager
def stats_lines(stats: RunStats, every_s: float, counts_only: bool = False) -> Iterator[None]:
    """A line on stderr every so many seconds, also while nothing comes."""
    from edgeface.pipeline.run_stats import StatsMark

    done = threading.Event()

    def tell() -> None:
        mark = StatsMark.of(stats)
        while not done.wait(every_s):
            log_line(f"stats: {stats.line(mark, counts_only)}")
            mark = StatsMark.of(stats)

    teller = threading.Thread(target=tell, name="edgeface stats", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
