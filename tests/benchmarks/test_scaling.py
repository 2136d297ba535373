"""``benchmarks.resources.scaling``: exponents of known series, the images it measures, and a short run."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("cv2")

from benchmarks.resources import scaling
from benchmarks.resources.scaling_fit import Curve, measured, power_law
from benchmarks.resources.scaling_frames import FRAME, crowd, face_patches, mosaic
from benchmarks.resources.scaling_load import Replay
from edgeface.api import FaceAnalyzer
from edgeface.errors import ConfigError
from edgeface.imaging.image_io import read_image


@given(st.floats(-2, 3), st.floats(0.01, 100), st.integers(3, 9))
def test_a_power_law_is_found(exponent: float, factor: float, points: int) -> None:
    x = [2.0**step for step in range(points)]
    fit = power_law(x, [factor * value**exponent for value in x])
    assert fit.exponent == pytest.approx(exponent, abs=1e-6) and fit.factor == pytest.approx(factor, rel=1e-6)
    assert fit.low == pytest.approx(exponent, abs=1e-5) and fit.high == pytest.approx(exponent, abs=1e-5)


def test_the_interval_covers_the_exponent_as_often_as_it_says() -> None:
    rng, x = np.random.default_rng(0), [1.0, 2.0, 4.0, 8.0, 16.0]
    fits = [power_law(x, np.exp(np.log(x) + rng.normal(0, 0.1, 5)).tolist()) for _ in range(500)]
    assert 0.92 < np.mean([fit.low <= 1 <= fit.high for fit in fits]) < 0.98


def test_two_points_make_no_law() -> None:
    with pytest.raises(ValueError, match="a power law needs three points, found 2"):
        power_law([1, 2], [1, 2])


def test_points_below_the_start_are_shown_but_not_fitted() -> None:
    curve = Curve("c", "x", "y", 1.0, "because", (1, 2, 4, 8), (100, 2, 4, 8), fitted_from=2)
    assert curve.fit.exponent == pytest.approx(1)
    assert curve.to_dict()["y"] == [100, 2, 4, 8] and curve.to_dict()["fit"]["exponent"] == 1
    assert measured(curve.to_dict()["fit"]) == "1.00 (1.00 to 1.00)"


def test_a_frame_shows_as_many_faces_as_are_put_into_it(album: Path) -> None:
    files = sorted(album.iterdir())
    with FaceAnalyzer(threads=1) as analyzer:
        patches = face_patches(files, analyzer, 5)
        assert [len(analyzer(crowd(patches[:count]))) for count in (0, 1, 5)] == [0, 1, 5]
        with pytest.raises(ConfigError, match="65 faces are needed, found .* in 24 images: name more --data"):
            face_patches(files, analyzer, 65)
    assert crowd(patches).shape == (FRAME[1], FRAME[0], 3)


def test_a_mosaic_is_full_of_photographs(album: Path) -> None:
    files = sorted(album.iterdir())[:2]
    picture = read_image(files[0])
    height, width = picture.shape[:2]
    tiled = mosaic(files, width + 40, 2 * height)
    assert tiled.shape == (2 * height, width + 40, 3)
    assert (tiled[:height, :width] == picture).all()
    assert tiled[:, :width].std() > 20 and tiled[:, width:].std() > 5


def test_a_replay_shows_its_pictures_until_it_is_closed() -> None:
    pictures = [np.full((4, 6, 3), shade, np.uint8) for shade in (10, 20)]
    source = Replay("one", pictures, fps=1000)
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == 3:
            threading.Thread(target=source.close).start()
    assert len(frames) >= 3 and source.counters.frames == len(frames)
    assert [int(frame.pixels[0, 0, 0]) for frame in frames[:3]] == [10, 20, 10]
    assert all(frame.captured_s is not None and frame.source == "one" for frame in frames)


def test_a_short_run(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="the extra `train` is not installed")
    saved = tmp_path / "scaling.json"
    assert scaling.main(["--quick", "--data", str(album), "--save", str(saved)]) == 0
    results = json.loads(saved.read_text(encoding="utf-8"))
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    curves = {curve["name"]: curve for curve in results["curves"]}
    assert len(curves) == 8 and all(min(curve["y"]) > 0 for curve in curves.values())
    assert curves["faces in a frame"]["x"] == [1, 2, 4] == curves["faces in a frame"]["notes"]["faces shown"]
    assert curves["edgeface predict, time"]["x"] == [4, 8, 16]
    written = scaling.tables(results)
    assert set(written) == {"scaling", "scaling_points"}
    assert len(written["scaling"].splitlines()) == 2 + len(curves)
    assert written["scaling"] in capsys.readouterr().out


def test_a_frame_without_a_single_face_is_an_error(
    album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in sorted(album.iterdir())[1:]:
        file.unlink()
    assert scaling.main(["--quick", "--data", str(album)]) == 1
    assert "error: 16 images are needed, the data hold 1: ask for fewer" in capsys.readouterr().err
