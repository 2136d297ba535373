"""Defaults that the Python API and the command line share; imports nothing, so that help stays fast."""

from __future__ import annotations

STILLS_MIN_FACE = 24.0
"""Pixels of the image from which on faces are found in photographs."""
