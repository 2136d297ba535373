"""The curve compares the ranges of the first images with those of all, and ends at nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeface.calibration import CalibrationFile, CalibrationSet
from edgeface.errors import SinkError
from tests.fixtures import SIZE

pytest.importorskip("onnx", reason="the extra `quantize` is not installed")

from edgeface.calibration.curve import range_errors, write_curve
from tests.calibration.networks import write_conv_model


def made_up(count: int) -> CalibrationSet:
    files = tuple(CalibrationFile(f"{number}.png", f"{number:064x}", "male White 20-29") for number in range(count))
    return CalibrationSet("made-up", "", "", (3,), 1, count, "", files)


def crops_of_levels(levels: list[int]) -> np.ndarray:
    """Plain grey crops, so that a tensor's range is known from the levels."""
    return np.stack([np.full((SIZE, SIZE, 3), level, np.uint8) for level in levels])


def test_errors_are_fractions_of_the_full_range(tmp_path: Path) -> None:
    model = write_conv_model(tmp_path / "conv.onnx")
    levels = [0, 100] * 4 + [0, 150] * 4 + [0, 200] * 4  # of the first 8 the top is half of all's, of 16 three quarters
    errors = range_errors(model, made_up(24), crops_of_levels(levels), "minmax")
    assert [error.size for error in errors] == [8, 16, 24]
    assert [round(error.worst, 5) for error in errors] == [0.5, 0.25, 0.0]
    assert all(0 <= error.mean <= error.worst for error in errors)


@pytest.mark.parametrize(("count", "sizes"), [(3, [3]), (8, [8]), (9, [8, 9]), (16, [8, 16]), (40, [8, 16, 32, 40])])
def test_sizes_double(tmp_path: Path, count: int, sizes: list[int]) -> None:
    model = write_conv_model(tmp_path / "conv.onnx")
    errors = range_errors(
        model, made_up(count), crops_of_levels([50 + 2 * number for number in range(count)]), "minmax"
    )
    assert [error.size for error in errors] == sizes
    assert errors[-1].mean == errors[-1].worst == 0


def test_every_beginning_has_ranges_of_its_own_in_the_cache(tmp_path: Path) -> None:
    model = write_conv_model(tmp_path / "conv.onnx")
    crops = crops_of_levels([0, 100] * 4 + [0, 200] * 4)
    first = range_errors(model, made_up(16), crops, "minmax", tmp_path / "cache")
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 2
    again = range_errors(model, made_up(16), np.zeros_like(crops), "minmax", tmp_path / "cache")
    assert again == first  # so it was not computed again
    other = replace(made_up(16), files=made_up(16).files[::-1])
    assert range_errors(model, other, crops[::-1], "minmax", tmp_path / "cache")[0].size == 8
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 3


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra `train`)")
    import cv2

    model = write_conv_model(tmp_path / "conv.onnx")
    errors = range_errors(model, made_up(24), crops_of_levels([10 * number for number in range(24)]), "minmax")
    write_curve(errors, tmp_path / "curve.png", "made up")
    picture = cv2.imread(str(tmp_path / "curve.png"))
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 10
    with pytest.raises(SinkError, match=r"^cannot draw `.*curve.xyz`: expected a suffix such as .png, .svg or .pdf$"):
        write_curve(errors, tmp_path / "curve.xyz", "made up")
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="^cannot write `"):
        write_curve(errors, tmp_path / "file" / "curve.png", "made up")
