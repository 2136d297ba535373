"""The verbs that judge, on real files: an ONNX model, a checkpoint and its program, on images made here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed (extra `train`)")

from edgeface.errors import ArtifactError, ConfigError, DataError  # noqa: E402
from edgeface.export.onnx_export import export_onnx  # noqa: E402
from edgeface.spec.metadata import model_spec  # noqa: E402
from tests.fixtures import tiny_detector, tiny_model  # noqa: E402, F401
from tests.trainer.calibrated import calibrated, softmax  # noqa: E402
from tests.trainer.people import make_fairface, make_people  # noqa: E402
from trainer.cli import commands  # noqa: E402
from trainer.config import Config  # noqa: E402
from trainer.evaluation.artefacts import names_of, open_artefact  # noqa: E402
from trainer.evaluation.evaluation_data import find_sets  # noqa: E402
from trainer.evaluation.recalibrate import recalibrate, take_calibration  # noqa: E402
from trainer.models import build_net  # noqa: E402
from trainer.models.calibration_values import Calibration  # noqa: E402
from trainer.models.predictions import age_logits_of, attributes_of  # noqa: E402
from trainer.models.program import save_program, spec_of  # noqa: E402

SMALL = Config(stem=4, widths=(8, 8), depths=(1, 1), input_size=32, validation_folds=(2,))

app = typer.Typer()
app.command()(commands.evaluate)
app.command()(commands.calibrate)
app.command("models")(commands.report_models)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_people(tmp_path_factory.mktemp("data") / "utkface", count=80, missed=0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's checkpoint of a fresh little network without a race head."""
    return write_checkpoint(
        tmp_path_factory.mktemp("run") / "last.pt", dataclasses.replace(SMALL, tasks=("age", "gender"))
    )


def write_checkpoint(path: Path, config: Config) -> Path:
    torch.manual_seed(0)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in config.to_dict().items()}
    torch.save({"config": plain, "ema": build_net(config).state_dict(), "best": None}, path)
    return path


def test_evaluate_prints_models_side_by_side(tiny_model: Path, checkpoint: Path, people: Path, tmp_path: Path) -> None:  # noqa: F811
    figures = tmp_path / "figures.json"
    wanted = ["--data", str(people), "--folds", "all", "--crops", "--json", str(figures)]
    done = CliRunner().invoke(app, ["evaluate", str(tiny_model), str(checkpoint), *wanted], catch_exceptions=False)
    assert done.exit_code == 0
    header = next(line for line in done.stdout.splitlines() if "tiny" in line)
    assert header.split() == ["tiny", "last"] and "race: accuracy" in done.stdout
    report = json.loads(figures.read_text())
    found = report["results"]["utkface"]
    assert set(found) == {"tiny", "last"} and found["tiny"]["n"] == 80
    assert found["last"]["race"]["accuracy"] is None and found["tiny"]["race"]["accuracy"] is not None
    assert report["data"]["utkface"]["crops"] == "centre" and len(report["data"]["utkface"]["skipped"]) == 1


def test_the_program_answers_as_its_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    from_checkpoint = open_artefact(checkpoint, "cpu")
    program = save_program(from_checkpoint.net, from_checkpoint.spec, tmp_path / "model.pt2")  # type: ignore[attr-defined]
    crops = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    one, other = from_checkpoint.from_crops(crops), open_artefact(program).from_crops(crops)
    assert one.age == pytest.approx(other.age, abs=1e-3) and one.gender == pytest.approx(other.gender, abs=1e-5)
    assert np.isnan(one.race).all() and np.isnan(other.race).all()
    assert len(open_artefact(program).from_crops(crops[:0])) == 0


def test_a_calibration_is_part_of_the_exported_graph(tmp_path: Path) -> None:
    net = build_net(SMALL).eval()
    fitted = Calibration(
        age_temperature=0.5,
        age_std_scale=1.3,
        age_std_power=1.2,
        gender_temperature=0.7,
        race_temperature=0.8,
        race_bias=(0.0, 0.1, 0.0, 0.0, 0.5),
    )
    program = save_program(net, spec_of(SMALL, net, {}), tmp_path / "model.pt2", fitted)
    spec = export_onnx(program, tmp_path / "model.onnx")
    assert spec.training["calibration"] == fitted.to_dict()
    crops = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    wanted = calibrated(attributes_of(net, crops, torch.device("cpu"), Calibration()), fitted)
    found = open_artefact(tmp_path / "model.onnx").from_crops(crops)
    raw = age_logits_of(net, crops, torch.device("cpu"))
    assert raw is not None
    ages = (softmax(raw.astype(np.float64) / 0.5) * np.arange(101)).sum(axis=1)
    assert found.age == pytest.approx(ages, rel=1e-3) and np.abs(ages - wanted.age).max() > 0.01
    assert found.age_std == pytest.approx(wanted.age_std, rel=1e-3)
    assert found.gender == pytest.approx(wanted.gender, abs=1e-4) and found.race == pytest.approx(wanted.race, abs=1e-4)


def test_calibrating_changes_the_answers_that_are_exported(people: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "last.pt", dataclasses.replace(SMALL, train_folds=(0, 1)))
    before = open_artefact(checkpoint, "cpu").from_crops(np.full((1, 32, 32, 3), 90, np.uint8))
    wanted = ["--data", str(people), "--folds", "2-9", "--crops", "--device", "cpu", "-o", str(tmp_path / "new.pt")]
    done = CliRunner().invoke(app, ["calibrate", str(checkpoint), *wanted], catch_exceptions=False)
    told = json.loads(done.stdout)
    fitted = Calibration.from_dict(told["calibration"])
    assert fitted.age_std_scale != 1 and fitted.gender_temperature != 1
    assert told["figures"]["utkface"]["after"]["coverage90"] == pytest.approx(0.9, abs=0.02)
    after = open_artefact(tmp_path / "new.pt", "cpu").from_crops(np.full((1, 32, 32, 3), 90, np.uint8))
    assert fitted.age_temperature != 1 and after.age != pytest.approx(before.age, rel=1e-6)
    shown = told["figures"]["utkface"]
    assert shown["after"]["age_mae"] < shown["before"]["age_mae"]
    assert after.age_std == pytest.approx(fitted.spread(before.age_std), rel=1e-5)


def test_calibrating_on_training_pictures_is_refused(people: Path, checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="folds 3 were trained on, so they flatter the network"):
        recalibrate(checkpoint, find_sets([people], folds={3}), None, 0.0, checkpoint, "cpu")


def test_a_twin_lends_its_calibration(checkpoint: Path, tmp_path: Path) -> None:
    twin = write_checkpoint(tmp_path / "twin.pt", SMALL)
    with pytest.raises(ConfigError, match="twin.pt` carries no calibration; fit one first"):
        take_calibration(checkpoint, twin, tmp_path / "new.pt")
    fitted = Calibration(age_std_scale=1.5, race_temperature=0.8)
    torch.save({**torch.load(twin, weights_only=True), "calibration": fitted.to_dict()}, twin)
    wanted = ["calibrate", str(checkpoint), "--like", str(twin), "-o", str(tmp_path / "new.pt")]
    CliRunner().invoke(app, wanted, catch_exceptions=False)
    lent = open_artefact(tmp_path / "new.pt", "cpu")
    assert lent.net.calibration == fitted  # type: ignore[attr-defined]
    save_program(lent.net, lent.spec, tmp_path / "twin.pt2")  # type: ignore[attr-defined]
    export_onnx(tmp_path / "twin.pt2", tmp_path / "twin.onnx")
    told = take_calibration(checkpoint, tmp_path / "twin.onnx", tmp_path / "other.pt")
    assert told["calibration"] == fitted.to_dict()


def test_a_calibration_is_adjusted_on_pictures_both_have_seen(people: Path, tmp_path: Path) -> None:
    """A twin that differs by a surer age head gets the same temperatures and another width."""
    first, surer = write_checkpoint(tmp_path / "first.pt", SMALL), write_checkpoint(tmp_path / "surer.pt", SMALL)
    fitted = Calibration(age_std_scale=1.5, gender_temperature=1.1, race_temperature=0.8)
    torch.save({**torch.load(first, weights_only=True), "calibration": fitted.to_dict()}, first)
    state = torch.load(surer, weights_only=True)
    state["ema"] = {name: value * 9 if name.startswith("age.") else value for name, value in state["ema"].items()}
    torch.save(state, surer)
    call = ["calibrate", str(surer), "--like", str(first), "--data", str(people), "--folds", "3-9", "--crops"]
    result = CliRunner().invoke(app, call, catch_exceptions=False)
    told = json.loads(result.stdout)
    assert told["adjusted_on"] > 50 and told["calibration"]["age_std_scale"] > 1.6
    assert told["calibration"]["gender_temperature"] == 1.1 and told["calibration"]["race_temperature"] == 0.8


def test_calibrating_needs_data_or_a_twin(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="expected --data with held-out faces or --like"):
        CliRunner().invoke(app, ["calibrate", str(checkpoint)], catch_exceptions=False)


def test_the_report_is_written(tiny_model: Path, tiny_detector: Path, people: Path, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra `train`)")
    faces, _ = make_fairface(tmp_path / "fairface")
    wanted = ["--data", str(people), "--data", str(faces), "--folds", "all", "--limit", "40", "--robust", "6"]
    where = ["--detector", str(tiny_detector), "-o", str(tmp_path / "report")]
    done = CliRunner().invoke(app, ["models", str(tiny_model), *wanted, *where], catch_exceptions=False)
    assert done.stdout.splitlines()[-1] == str(tmp_path / "report" / "report.html")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {name: data["n"] for name, data in report["data"].items()} == {"utkface": 40, "fairface": 24}
    assert report["results"]["fairface"]["tiny"]["robustness"]["n"] == 6
    assert report["models"][0]["file"] == "tiny.onnx" and model_spec(tiny_model).name == "tiny"


def test_data_of_every_form_are_judged_apart(people: Path, tmp_path: Path) -> None:
    faces, _ = make_fairface(tmp_path / "fairface")
    names = sorted(path.name for path in faces.glob("train/*.png"))[:3]
    manifest = tmp_path / "own.csv"
    rows = [
        f"fairface/train/{name},{age},female,Asian,{fold}"
        for name, age, fold in zip(names, ("30", "70+", ""), (1, 1, 4))
    ]
    manifest.write_text("\n".join(["path,age,gender,race,fold", *rows]) + "\n")
    sets = {item.name: item for item in find_sets([people, manifest, faces])}
    assert {name: sum(len(part.faces) for part in item.faces) for name, item in sets.items()} == {
        "own": 3, "utkface": 80, "fairface": 24,
    }  # fmt: skip
    (tested,) = find_sets([manifest], folds={1}, limit=1)
    assert [face.age for part in tested.faces for face in part.faces] == [30.0]
    with pytest.raises(DataError, match="no image of fold 7 in `.*own.csv`"):
        find_sets([manifest], folds={7})


def test_what_cannot_be_opened_or_told_apart(tmp_path: Path, people: Path) -> None:
    with pytest.raises(ArtifactError, match="no artefact at `.*none.onnx`: expected a file ending in"):
        open_artefact(tmp_path / "none.onnx")
    (tmp_path / "junk.pt2").write_text("junk")
    with pytest.raises(ArtifactError, match="junk.pt2"):
        open_artefact(tmp_path / "junk.pt2")
    assert list(names_of([Path("a/last.pt"), Path("b/last.pt"), Path("c/m.onnx")])) == ["a/last.pt", "b/last.pt", "m"]
    with pytest.raises(ConfigError, match="artefacts cannot be told apart"):
        names_of([Path("a/last.pt"), Path("a/last.pt")])
    with pytest.raises(DataError, match="no image of fold 0"):
        find_sets([people], folds={0})
