"""A network need not have every head: what it cannot say is missing everywhere, and never a wrong number."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from edgeface.api import FaceAnalyzer
from edgeface.cli import face_rows as faces
from edgeface.errors import ConfigError, SpecError
from edgeface.evaluation.labelled_crops import LabelledCrops
from edgeface.evaluation.metrics import Labels
from edgeface.inference import overlay as draw
from edgeface.inference.attributes import AttributeEstimator
from edgeface.parity import compare
from edgeface.sinks.file_sinks import csv_row
from edgeface.types import Attributes
from tests.cli.conftest import Cli, cli  # noqa: F401
from tests.fixtures import SIZE, picture, tiny_detector, tiny_model, tiny_spec, write_picture, write_tiny_model  # noqa: F401

TASKS = {"age": ("age", "age_std"), "gender": ("gender",), "race": ("race",)}


@pytest.fixture(scope="module", params=TASKS)
def without(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A task and a network that lacks its head."""
    heads = [name for task, names in TASKS.items() if task != request.param for name in names]
    path = tmp_path_factory.mktemp("without") / f"{request.param}.onnx"
    return request.param, write_tiny_model(path, heads=heads)


def test_what_is_not_answered_is_nan_and_the_rest_as_before(
    without: tuple[str, Path],
    tiny_model: Path,  # noqa: F811
) -> None:
    task, path = without
    crops = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    with AttributeEstimator(path, threads=1, batch=2) as partial, AttributeEstimator(tiny_model, threads=1) as whole:
        said, expected = partial.from_crops(crops), whole.from_crops(crops)
    for name in ("age", "age_std", "gender", "race"):
        found, want = getattr(said, name), getattr(expected, name)
        assert found.shape == want.shape
        if name in TASKS[task]:
            assert np.isnan(found).all()
        else:
            np.testing.assert_allclose(found, want, atol=1e-4)


def test_a_face_has_none_for_it_in_json_csv_and_table(
    without: tuple[str, Path],
    tiny_detector: Path,  # noqa: F811
) -> None:
    task, path = without
    with FaceAnalyzer(tiny_detector, path, threads=1) as analyzer:
        face = analyzer(picture())[0]
    data = json.loads(json.dumps(face.to_dict(), allow_nan=False))
    missing = {key for key, value in data.items() if value is None} - {"track"}
    confidence = {f"{task}_confidence"} if task != "age" else set()
    assert missing == {*TASKS[task], *confidence}
    assert [cell is None for cell in csv_row(face)[6:12]] == [
        key in missing for key in ("age", "age_std", "gender", "gender_confidence", "race", "race_confidence")
    ]
    cells = dict(zip(faces.COLUMNS, faces.row(face)))
    assert {name for name, cell in cells.items() if not cell} == {task}


def test_a_label_leaves_it_out(without: tuple[str, Path], tiny_detector: Path) -> None:  # noqa: F811
    task, path = without
    with FaceAnalyzer(tiny_detector, path, threads=1) as analyzer:
        face = analyzer(picture())[0]
    wordings = draw._wordings(face, draw._Style(480))
    assert wordings == sorted(set(wordings), key=len, reverse=True), "each shorter than the one before"
    assert not any("None" in text or "nan" in text.lower() for text in wordings)
    fullest = wordings[0].split()
    assert len(fullest) == {"age": 3, "gender": 3, "race": 2}[task]


def test_a_network_of_one_head_has_a_label(tmp_path: Path, tiny_detector: Path) -> None:  # noqa: F811
    with FaceAnalyzer(tiny_detector, write_tiny_model(tmp_path / "a.onnx", heads=["race"]), threads=1) as analyzer:
        face = analyzer(picture())[0]
    assert all(face.race in text for text in draw._wordings(face, draw._Style(480)))


def test_predict_and_run_take_such_a_network(
    cli: Cli,  # noqa: F811
    without: tuple[str, Path],
    tiny_detector: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    task, path = without
    photo = write_picture(tmp_path / "photo.png")
    models = ("--model", path, "--detector", tiny_detector)
    printed = cli("predict", photo, *models, "--json")
    assert printed.code == 0 and printed.json()["faces"][0][task] is None
    ran = cli("run", photo, *models, "--sink", tmp_path / "a.csv", "--sink", f"{tmp_path}/drawn/")
    assert ran.code == 0, ran.err
    with (tmp_path / "a.csv").open(newline="") as file:
        assert next(csv.DictReader(file))[task] == ""
    assert (tmp_path / "drawn" / "photo.png").is_file()


def test_evaluation_has_no_figures_of_it(
    cli: Cli,  # noqa: F811
    without: tuple[str, Path],
    tmp_path: Path,
) -> None:
    task, path = without
    for number, name in enumerate(("34_0_1", "60_1_2", "8_0_3")):
        write_picture(tmp_path / "data" / f"{name}_{number}.png", np.full((64, 64, 3), 60 * number, np.uint8))
    judged = cli("evaluate", path, "--data", tmp_path / "data", "--folds", "all", "--crops", "--json", "-")
    assert judged.code == 0, judged.err
    figures = judged.json()
    missing = {name for name in ("age_mae", "gender_accuracy", "race_accuracy", "race_f1") if figures.get(name) is None}
    assert missing == {"age": {"age_mae"}, "gender": {"gender_accuracy"}, "race": {"race_accuracy", "race_f1"}}[task]
    assert cli("evaluate", path, "--data", tmp_path / "data", "--folds", "all", "--crops").code == 0


def test_parity_judges_the_heads_there_are_and_wants_the_same_of_both(
    without: tuple[str, Path],
    tiny_model: Path,  # noqa: F811
) -> None:
    task, path = without
    pixels = np.random.default_rng(0).integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)
    rows = np.arange(6)
    labels = Labels(30.0 + rows, np.full(6, -1), rows % 2, rows % 5)
    crops = LabelledCrops(pixels, labels, tuple("abcdef"), np.ones(6, bool), (), ())
    report = compare(path, [path], crops, latency_s=0)
    candidate = report.candidates[0]
    assert {item.head for item in candidate.heads} == {"age", "gender", "race"} - {task}
    assert {change.output for change in candidate.changes}.isdisjoint(TASKS[task])
    assert candidate.not_finite == 0
    with pytest.raises(ConfigError, match="only models with the same heads can be compared"):
        compare(tiny_model, [path], crops, latency_s=0)


def test_a_spec_that_promises_too_much_or_nothing(tmp_path: Path) -> None:
    promising = write_tiny_model(tmp_path / "a.onnx", tiny_spec().to_json(), heads=["age", "age_std", "gender"])
    with pytest.raises(SpecError, match="expected one input and age, age_std, gender, race"):
        AttributeEstimator(promising, threads=1)
    heads = tuple(head for head in tiny_spec().heads if head.name == "race")
    other = tiny_spec(heads=(type(heads[0])("smile", "classification", ("no", "yes")),)).to_json()
    with pytest.raises(SpecError, match="has no head that edgeface knows, expected some of age, age_std, gender, race"):
        AttributeEstimator(write_tiny_model(tmp_path / "b.onnx", other), threads=1)


def test_unknown_attributes_are_nan_in_the_right_shape() -> None:
    unknown = Attributes.unknown(3)
    assert len(unknown) == 3 and unknown.gender.shape == (3, 2) and unknown.race.shape == (3, 5)
    assert all(np.isnan(getattr(unknown, name)).all() for name in ("age", "age_std", "gender", "race"))
