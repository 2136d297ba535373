"""What a run says: a progress bar on a terminal or plain lines in a log, ``metrics.jsonl`` and TensorBoard."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeface.common.console import log_line
from edgeface.errors import SinkError

if TYPE_CHECKING:
    from trainer.config import Config
    from trainer.data.samples import Loaded


class Log:
    """Lines to stderr; per epoch one JSON line in ``out/metrics.jsonl`` and scalars in ``out/tensorboard``.

    Of several processes only the one that ``is_main`` says anything.
    """

    def __init__(self, out: Path, resume: bool, is_main: bool = True, board: bool = True):
        self.out, self.is_main, self.terminal = out, is_main, is_main and sys.stderr.isatty()
        self.board = None
        if not is_main:
            return
        try:
            out.mkdir(parents=True, exist_ok=True)
            if not resume:
                (out / "metrics.jsonl").write_text("")
        except OSError as error:
            raise SinkError(f"cannot write into `{out}`: {error.strerror or error}") from error
        self.board = self._open_board() if board else None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.board is not None:
            self.board.close()

    def say(self, line: str) -> None:
        if self.is_main:
            log_line(line)

    @contextlib.contextmanager
    def bar(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts steps done. Draws on a terminal only."""
        if not self.terminal:
            yield lambda _: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(title, total=total)
            yield lambda count: progress.advance(task, count)

    def data(self, loaded: Loaded, config: Config) -> None:
        """Say how many images there are and which were left out."""
        from trainer.data.samples import SOURCES

        samples = loaded.samples
        for source in loaded.skipped:
            code = SOURCES.index(source)
            train, held_out = (len(samples.rows(f, code)) for f in (config.train_folds, config.validation_folds))
            self.say(
                f"{source}: {train} training and {held_out} validation images, {loaded.missed[source]} without a "
                f"detected face (centre crop), {len(loaded.unreadable[source])} unreadable"
            )
            for name in loaded.skipped[source]:
                self.say(f"{source}: skipped {name}")
        if loaded.excluded:
            self.say(f"{loaded.excluded} training images left out, as `{config.exclude}` asks")

    def epoch(self, epoch: int, record: dict[str, Any]) -> None:
        """Keep an epoch's figures in all three places."""
        if not self.is_main:
            return
        with open(self.out / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch, **record}) + "\n")
        scalars = dict(_flat(record))
        if self.board is not None:
            for name, value in scalars.items():
                self.board.add_scalar(name, value, epoch)
            self.board.flush()
        self.say(f"epoch {epoch}: " + "  ".join(f"{name} {value:.4g}" for name, value in scalars.items()))

    def _open_board(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.say("tensorboard is not installed, metrics go to metrics.jsonl only")
            return None
        return SummaryWriter(str(self.out / "tensorboard"))


def _flat(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", float(value)
