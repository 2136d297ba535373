"""Where results go: lines of JSON, a table, annotated images; ``open_sink`` also opens videos and live sinks.

A sink is a context manager with ``append``. A file appears under its name when the sink is closed, whole, also after
Ctrl-C or a source that broke off; where writing fails it does not appear at all. Failures are ``SinkError``.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

from edgeface.common.console import echo, echo_json, json_text
from edgeface.common.names import PERCENT
from edgeface.errors import SinkError
from edgeface.imaging.image_io import SUFFIXES, write_image
from edgeface.inference.overlay import draw_faces
from edgeface.inference.result import Face, FrameResult
from edgeface.sinks.base import Message, MessageSink, PartFile, Sink, writing

_POINTS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
CSV_COLUMNS = (
    *("source", "frame", "pts_s", "face", "x1", "y1", "x2", "y2", "score", "track", "age", "age_std"),
    *("gender", "gender_confidence", "race", "race_confidence", "abstained"),
    *(f"{point}_{axis}" for point in _POINTS for axis in "xy"),
)


class StdoutSink(MessageSink):
    """One JSON object a line on stdout, flushed at once so that a pipe's reader keeps up."""

    name = "-"

    def send(self, message: Message) -> None:
        """Write one line."""
        echo_json(message)

    def close(self) -> None:
        """Stdout stays open, it is not ours."""


class _TextSink(Sink):
    """A text file that grows under a temporary name; after a failed write, or an error before any, it is discarded."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._part = PartFile(path)
        self._file: TextIO | None = self._part.path.open("w", encoding="utf-8", errors=PERCENT, newline="")
        self._failed = self._started = False

    @contextmanager
    def _writing(self) -> Iterator[TextIO]:
        """The open file; a failure while writing is remembered."""
        if self._file is None:
            raise SinkError(f"`{self.name}` is closed, open it again")
        try:
            with writing(self.name):
                yield self._file
            self._started = True
        except SinkError:
            self._failed = True
            raise

    def __exit__(self, *exc: object) -> None:
        self._failed |= exc[0] is not None and not self._started
        self.close()

    def close(self) -> None:
        """Put the file in its place; closing twice is harmless."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with writing(self.name):
                file.close()
        except SinkError:
            self._failed = True
            raise
        finally:
            self._part.finish(keep=not self._failed)


class JsonlSink(_TextSink, MessageSink):
    """One JSON object a line and frame (``FrameResult.to_dict``)."""

    def send(self, message: Message) -> None:
        """Write one line."""
        with self._writing() as file:
            file.write(json_line(message))


class StdoutCsvSink(StdoutSink):
    """One row a face under ``CSV_COLUMNS`` on stdout."""

    def __init__(self) -> None:
        self._rows: list[list[Any]] = [list(CSV_COLUMNS)]

    def append(self, result: FrameResult) -> None:
        self._rows += csv_rows(result)
        self._flush()

    def close(self) -> None:
        """Write the head where there was no result; stdout stays open, it is not ours."""
        self._flush()

    def _flush(self) -> None:
        for row in self._rows:
            text = StringIO()
            csv.writer(text).writerow(row)
            echo(text.getvalue().rstrip("\r\n"))
        self._rows.clear()


class CsvSink(_TextSink):
    """One row a face under ``CSV_COLUMNS``; frames without faces add none."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        assert self._file is not None
        csv.writer(self._file).writerow(CSV_COLUMNS)

    def append(self, result: FrameResult) -> None:
        with self._writing() as file:
            csv.writer(file).writerows(csv_rows(result))


class PictureSink(Sink):
    """A directory of annotated images: under an image's own name, ``NAME_000012.jpg`` for frame 12 of a video."""

    shows_images = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._directory = Path(path)
        self._taken: set[str] = set()
        self._last_frames: dict[str, list[int]] = {}
        with writing(self.name):
            self._directory.mkdir(parents=True, exist_ok=True)
        if not os.access(self._directory, os.W_OK | os.X_OK):
            raise SinkError(f"cannot write `{self.name}`: the directory is not writable")

    def append(self, result: FrameResult) -> None:
        write_image(self._directory / self._file_name(result), draw_faces(result.frame.pixels, result.faces))

    def _file_name(self, result: FrameResult) -> str:
        """A name of its own for every result of this sink, also where images of two directories share one."""
        source = Path(result.frame.source or "picture")
        is_picture = result.frame.pts_s is None
        if not is_picture:
            return self._frame_name(source.stem, result.frame.index)
        suffix = source.suffix if source.suffix.lower() in SUFFIXES else ".jpg"
        name, copy = f"{source.stem}{suffix}", 2
        while name in self._taken:
            name, copy = f"{source.stem}-{copy}{suffix}", copy + 1
        self._taken.add(name)
        return name

    def _frame_name(self, stem: str, index: int) -> str:
        """Frames of a source grow in number, so that the last one of each run through a name tells what is taken.

        A camera runs for months: what is remembered must not grow with its frames.
        """
        lasts = self._last_frames.setdefault(stem, [])
        run = next((place for place, last in enumerate(lasts) if last < index), len(lasts))
        lasts[run : run + 1] = [index]
        return f"{stem}_{index:06d}" + (f"-{run + 1}" if run else "") + ".jpg"

    def close(self) -> None:
        """Nothing is open: every image was finished when it was appended."""


def json_line(message: Message) -> str:
    """A message's JSON with its line break."""
    return json_text(message) + "\n"


def csv_rows(result: FrameResult) -> list[list[Any]]:
    """One row a face under ``CSV_COLUMNS``."""
    where = result.to_dict()
    return [
        [where["source"], where["frame"], where["pts_s"], number, *csv_row(face)]
        for number, face in enumerate(result.faces)
    ]


def csv_row(face: Face) -> list[Any]:
    """The cells of ``CSV_COLUMNS`` from ``x1`` on; empty where a face has no track or landmarks."""
    data = face.to_dict()
    points = [value for point in data["landmarks"] or [] for value in point] or [None] * 2 * len(_POINTS)
    rest = ("score", "track", "age", "age_std", "gender", "gender_confidence", "race", "race_confidence")
    return [*data["box"], *(data[key] for key in rest), " ".join(face.abstained), *points]
