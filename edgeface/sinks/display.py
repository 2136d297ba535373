"""A window on this machine's screen: ``display:``."""

from __future__ import annotations

import os
import re
import sys

import numpy as np

from edgeface.common.addresses import public_name
from edgeface.common.install import install, pip
from edgeface.errors import MissingDependencyError, SinkError
from edgeface.inference.overlay import draw_faces
from edgeface.inference.result import FrameResult
from edgeface.sinks.base import Sink

_TITLE = "edgeface"
_ENDS = (27, ord("q"))


class DisplaySink(Sink):
    """Shows annotated frames, one window a source; Esc, q or its close button closes it, and the run goes on.

    The window opens with the first frame, in the thread that appends. Raises ``MissingDependencyError`` where OpenCV
    was built without windows, ``SinkError`` where there is no screen.
    """

    live = True
    shows_images = True

    def __init__(self, uri: str = "display:") -> None:
        self.name = public_name(uri)
        if uri != "display:":
            raise SinkError(f"`{self.name}` has nothing to choose, expected `display:`")
        if not has_windows():
            how = f"{pip()} uninstall opencv-python-headless && {install('opencv-python')}"
            raise MissingDependencyError(
                f"`{uri}` needs OpenCV with windows, this one was built without: {how}; or use http://:8090"
            )
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise SinkError(f"`{uri}` needs a screen, neither DISPLAY nor WAYLAND_DISPLAY is set; try http://:8090")
        self._windows: dict[str, bool] = {}

    def append(self, result: FrameResult) -> None:
        """Show one frame, unless its window was closed."""
        import cv2

        title = f"{_TITLE}: {result.frame.source}"
        if not self._windows.setdefault(title, True):
            return
        drawn = draw_faces(result.frame.pixels, result.faces)
        cv2.imshow(title, np.ascontiguousarray(drawn[..., ::-1]))
        ended = cv2.waitKey(1) & 0xFF in _ENDS
        if ended or cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
            self._windows[title] = False
            cv2.destroyWindow(title)

    def close(self) -> None:
        """Close the windows."""
        import cv2

        for title, is_open in self._windows.items():
            if is_open:
                cv2.destroyWindow(title)
        self._windows.clear()


def has_windows() -> bool:
    """Whether the installed OpenCV can open a window."""
    import cv2

    found = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    return found is not None and found[1] != "NONE"
