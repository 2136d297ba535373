"""What an analyzer finds in one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeface.types import Attributes, Faces


@dataclass(frozen=True, eq=False)
class Observation:
    """The faces of an image, and a call that gives the attributes of those that a mask (bool ``[N]``) picks.

    Attributes are a call because not every face needs them in every frame; an analyzer that computes all of them in
    one pass hands over ``Attributes.__getitem__`` and says so by ``complete``.
    """

    faces: Faces
    attributes: Callable[[NDArray[np.bool_]], Attributes]
    complete: bool = False
