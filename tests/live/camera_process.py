"""A fault camera in a process of its own, told what to do by lines of JSON.

    python -m tests.live.camera_process rtsp --size 640x360 --fps 15 --faces 2

It prints its URI. A line such as ``{"do": "show", "size": [320, 240]}`` calls that method of ``FaultCamera``; the end
of its input ends it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from functools import lru_cache
from typing import Any

from edgeface.sources.source_uri import Size
from edgeface.sources.synthetic import Painter, Scene
from edgeface.types import Image
from tests.conftest import ROOT
from tests.live.camera import KINDS, FaultCamera, View


class CameraProcess:
    """The other end of it: starts the process and gives its commands."""

    def __init__(self, kind: str, size: tuple[int, int], fps: float, faces: int, seed: int = 0) -> None:
        shape = [f"--size={size[0]}x{size[1]}", f"--fps={fps}", f"--faces={faces}", f"--seed={seed}"]
        command = [sys.executable, "-m", "tests.live.camera_process", kind, *shape]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        self.kind, self.size = kind, size
        self.uri = self._answers.readline().strip()

    def do(self, what: str, **arguments: Any) -> None:
        """Call a method of the camera."""
        self._orders.write(json.dumps({"do": what, **arguments}) + "\n")

    def close(self) -> None:
        """End the process."""
        self._orders.close()
        self._process.wait(10)
        self._answers.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--size", type=Size, default=(640, 360))
    parser.add_argument("--fps", type=float, default=15.0)
    parser.add_argument("--faces", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    @lru_cache(maxsize=4)
    def painter(size: tuple[int, int]) -> Painter:
        return Scene(size, options.fps, options.faces, options.seed).painter()

    def paint(size: tuple[int, int], index: int) -> Image:
        return painter(size)(index)

    with FaultCamera(options.kind, View(tuple(options.size), options.fps), paint) as camera:
        print(camera.uri, flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            if "size" in order:
                order["size"] = tuple(order["size"])
            getattr(camera, order.pop("do"))(**order)


if __name__ == "__main__":
    main()
