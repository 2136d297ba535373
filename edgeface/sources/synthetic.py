"""``synthetic:``: faces of the sample portraits that move over a plain wall, of any size, rate and number.

    synthetic:?size=640x360&fps=25&faces=2&seed=0            a camera: never ends, newest frame first
    synthetic:?frames=100                                    a file: every frame, as fast as they are taken

The same options give the same pixels.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgeface.common.addresses import public_name
from edgeface.errors import ConfigError
from edgeface.imaging.portraits import portraits
from edgeface.sources.base import Source, SourceOptions
from edgeface.sources.file import FileSource
from edgeface.sources.live import CapturedFrame, LiveSource
from edgeface.sources.source_uri import Size, query_of
from edgeface.types import Frame, Image

_KNOWN: dict[str, type] = {"size": Size, "fps": float, "faces": int, "seed": int, "frames": int, "live": int}
_HEADS = {"eileen-collins": (100, 15, 340), "grace-hopper": (150, 40, 300)}
"""Left, top and side in pixels of the square around each portrait's head."""
_LARGEST_FACES = 64


@dataclass(frozen=True)
class Scene:
    """What a synthetic source shows: ``faces`` heads on a wall of ``size`` (width, height), ``fps`` frames a second."""

    size: tuple[int, int] = (640, 360)
    fps: float = 25.0
    faces: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.1 <= self.fps <= 1000:
            raise ConfigError(f"synthetic: fps: expected 0.1 to 1000, found {self.fps:g}")
        if not 0 <= self.faces <= _LARGEST_FACES:
            raise ConfigError(f"synthetic: faces: expected 0 to {_LARGEST_FACES}, found {self.faces}")

    def painter(self) -> Painter:
        """Something that paints this scene's frames."""
        return Painter(self)


class Painter:
    """Paints frame after frame: each head swings about a place of its own in a grid, so that heads do not meet."""

    def __init__(self, scene: Scene) -> None:
        import cv2

        self._scene = scene
        chance = np.random.default_rng(scene.seed)
        self._wall = np.full((scene.size[1], scene.size[0], 3), (168, 172, 176), np.uint8)
        columns = max(1, math.ceil(math.sqrt(scene.faces * scene.size[0] / scene.size[1])))
        rows = max(1, math.ceil(scene.faces / columns))
        self._cell = scene.size[0] / columns, scene.size[1] / rows
        side = max(1, int(0.7 * min(self._cell)))
        heads = [
            np.asarray(cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA), np.uint8) for head in _heads()
        ]
        self._heads = [heads[number % len(heads)] for number in range(scene.faces)]
        self._places = [(number % columns, number // columns) for number in range(scene.faces)]
        self._phases = chance.uniform(0, 2 * math.pi, (scene.faces, 2))
        self._rates = chance.uniform(0.4, 1.2, (scene.faces, 2))  # radians a second

    def __call__(self, index: int) -> Image:
        """Frame ``index``: uint8 ``[H, W, 3]`` RGB."""
        pixels: Image = self._wall.copy()
        for head, place, phases, rates in zip(self._heads, self._places, self._phases, self._rates):
            swing = np.sin(phases + rates * index / self._scene.fps)
            left, top = (
                int(cell * at + (cell - len(head)) / 2 * (1 + move)) for cell, at, move in zip(self._cell, place, swing)
            )
            pixels[top : top + len(head), left : left + len(head)] = head
        return pixels


class SyntheticSource(FileSource):
    """``frames`` frames of a scene, all of them."""

    def __init__(self, name: str, scene: Scene, frames: int) -> None:
        super().__init__(name)
        self.frame_count = frames
        self._scene = scene

    def _frames(self) -> Iterator[Frame]:
        paint = self._scene.painter()
        for index in range(self.frame_count or 0):
            yield Frame(paint(index), index / self._scene.fps, self.name, index)


class SyntheticStream:
    """A scene at its own pace; ``frames`` ends it."""

    finite = True

    def __init__(self, scene: Scene, frames: int | None = None) -> None:
        self._scene, self._frames = scene, frames
        self._paint = scene.painter()
        self._interrupted = threading.Event()

    def shots(self) -> Iterator[CapturedFrame]:
        """An image whenever one is due; those that were missed while no one asked are left out."""
        started_s, index = time.monotonic(), 0
        while self._frames is None or index < self._frames:
            due_s = started_s + index / self._scene.fps
            if self._interrupted.wait(max(0.0, due_s - time.monotonic())):
                return
            yield CapturedFrame(self._paint(index), index / self._scene.fps, due_s)
            index = max(index + 1, int((time.monotonic() - started_s) * self._scene.fps))

    def interrupt(self) -> None:
        """End at once."""
        self._interrupted.set()

    def close(self) -> None:
        """Nothing is open."""


def synthetic_source(uri: str, options: SourceOptions) -> Source:
    """The source of a ``synthetic:`` URI: a camera, or with ``frames`` (and not ``live=1``) a file of so many."""
    given, name = query_of(uri, _KNOWN), public_name(uri)
    frames, live = given.pop("frames", None), given.pop("live", None)
    if frames is not None and frames < 1:
        raise ConfigError(f"`{name}`: frames: expected 1 or more, found {frames}")
    if live not in (None, 0, 1) or (live == 0 and frames is None):
        raise ConfigError(f"`{name}`: live: expected 1, or 0 together with frames=N")
    scene = Scene(**given)
    if frames is not None and not live:
        return SyntheticSource(name, scene, frames)
    return LiveSource(name, lambda counters: SyntheticStream(scene, frames), options)


def _heads() -> list[Image]:
    """The heads cut out of the portraits."""
    cut = []
    for name, picture in sorted(portraits().items()):
        left, top, side = _HEADS[name]
        cut.append(picture[top : top + side, left : left + side])
    return cut
