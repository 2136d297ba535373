"""C++ answers like Python: on the same pixels number by number, on a clip within what two video decoders may differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.api import FaceAnalyzer
from edgeface.imaging.image_io import read_image
from edgeface.imaging.postprocess import iou_matrix
from edgeface.inference.result import image_dict
from tests.conftest import ROOT
from tests.cpp.conftest import CppBuild, run

_PHOTOS = ROOT / "edgeface" / "assets" / "photos"


@pytest.fixture(scope="module")
def analyzer() -> Any:
    with FaceAnalyzer(threads=1) as made:
        yield made


@pytest.mark.parametrize("name", ["grace-hopper.jpg", "eileen-collins.jpg"])
@pytest.mark.parametrize(("step", "padding"), [(1, 0), (2, 7), (3, 1)])
def test_photographs(cpp: CppBuild, analyzer: FaceAnalyzer, name: str, step: int, padding: int) -> None:
    pixels = np.ascontiguousarray(read_image(_PHOTOS / name)[::step, ::step])
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=255)
    found = json.loads(cpp.answers(rows.tobytes(), width, height, padding))
    wanted = image_dict("-", width, height, analyzer(pixels))
    assert {key: found[key] for key in ("path", "width", "height")} == {"path": "-", "width": width, "height": height}
    assert len(found["faces"]) == len(wanted["faces"]) > 0
    for mine, theirs in zip(found["faces"], wanted["faces"]):
        check_face(mine, theirs, pixels_tolerance=0.05, age_tolerance=0.3)


def check_face(mine: dict[str, Any], theirs: dict[str, Any], pixels_tolerance: float, age_tolerance: float) -> None:
    """Crops differ by a grey level here and there, since OpenCV samples with coarser weights."""
    assert list(mine) == list(theirs)
    np.testing.assert_allclose(mine["box"], theirs["box"], atol=pixels_tolerance)
    np.testing.assert_allclose(mine["landmarks"], theirs["landmarks"], atol=pixels_tolerance)
    assert abs(mine["age"] - theirs["age"]) <= age_tolerance
    assert abs(mine["age_std"] - theirs["age_std"]) <= age_tolerance
    assert (mine["gender"], mine["race"], mine["track"]) == (theirs["gender"], theirs["race"], theirs["track"])
    for confidence in ("score", "gender_confidence", "race_confidence"):
        assert abs(mine[confidence] - theirs[confidence]) <= 0.02


def test_a_clip_frame_by_frame(cpp: CppBuild, shared: Path, tmp_path: Path) -> None:
    clip = shared / "media" / "face-demographics-walking.mp4"
    theirs, mine = tmp_path / "python.jsonl", tmp_path / "cpp.jsonl"
    python_lines(clip, theirs)
    command = [cpp.demo, clip, "--jsonl", mine, "--overlay", tmp_path / "overlay.mp4", "--backend", cpp.backend]
    run([*command, "--detector", cpp.detector, "--attributes", cpp.attributes])
    found, wanted = ([json.loads(line) for line in path.read_text().splitlines()] for path in (mine, theirs))
    assert len(found) == len(wanted) > 30
    matched = faces = 0
    for one, other in zip(found, wanted):
        assert list(one) == list(other)
        assert {**one, "faces": []} == {**other, "faces": []}
        faces += len(other["faces"])
        matched += sum(is_matched(face, one["faces"]) for face in other["faces"])
    assert faces > 40
    assert matched >= 0.99 * faces
    assert (tmp_path / "overlay.mp4").stat().st_size > 10_000


def python_lines(clip: Path, target: Path) -> None:
    from edgeface.pipeline import runner
    from edgeface.sinks.open import open_sink
    from edgeface.sources.open import open_source
    from edgeface.tracking.iou import IouTracker

    with open_source(clip) as source, FaceAnalyzer() as made:
        runner.run(source, made, IouTracker, [open_sink(target)])


def is_matched(face: dict[str, Any], others: list[dict[str, Any]]) -> bool:
    """Whether the same face is among ``others``: IoU of 0.98, age within half a year, same labels and number."""
    if not others:
        return False
    overlaps = iou_matrix(np.array([face["box"]]), np.array([other["box"] for other in others]))[0]
    other = others[int(overlaps.argmax())]
    same = all(face[key] == other[key] for key in ("gender", "race", "track"))
    return bool(overlaps.max() >= 0.98 and abs(face["age"] - other["age"]) <= 0.5 and same)
