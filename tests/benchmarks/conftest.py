"""Real images that come with the package, as a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.imaging.image_io import write_image
from edgeface.imaging.portraits import portraits


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder of 24 small portraits."""
    for number in range(12):
        for name, picture in portraits().items():
            write_image(tmp_path / "album" / f"{name}-{number}.jpg", picture[number::2, ::2])
    return tmp_path / "album"
