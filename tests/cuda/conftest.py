"""What the tests on the emulated driver share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edgeface.cuda.context import Context
from edgeface.imaging.image_io import read_image
from tests.cuda import emulated
from tests.cuda.pipelines import PORTRAITS


@pytest.fixture
def context() -> Iterator[Context]:
    with emulated.context() as made:
        yield made
    assert emulated.alive() == 0, "something was not freed"


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.ascontiguousarray(read_image(PORTRAITS[0])[::2, ::2])
