"""Comparing attribute networks: known perturbations give known losses, in the groups that they hurt."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from edgeface.api import AttributeEstimator
from edgeface.common.files import sha256_file
from edgeface.errors import ConfigError, DataError, SpecError
from edgeface.evaluation.datasets import find_faces
from edgeface.evaluation.labelled_crops import LabelledCrops, labelled_crops, thinned
from edgeface.evaluation.metrics import Labels
from edgeface.inference.detector import shipped_model
from edgeface.parity import CandidateParity, answers_of, compare
from edgeface.runtime.open import open_backend
from edgeface.spec.model import PrecisionSpec
from tests.fixtures import tiny_spec, write_tiny_model
from tests.parity.conftest import FACES, Perturb

PALER = np.array([[1, 1], [1, 1.25], [1, 1.25]], np.float32)
"""Takes redness for less: pale red women become men, grey men stay men."""


def only(reference: Path, candidate: Path, crops: LabelledCrops) -> CandidateParity:
    return compare(reference, [candidate], crops, latency_s=0, threads=1).candidates[0]


def test_a_copy_loses_nothing(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    found = only(tiny_model, perturb("copy.onnx"), crops)
    assert [head.head for head in found.heads] == ["age", "gender", "race"]
    for head in found.heads:
        assert (head.loss.mean, head.loss.low, head.loss.high) == (0, 0, 0)
        assert head.reference == head.candidate
    assert [change.largest for change in found.changes] == [0] * 4
    assert {change.output: change.flips for change in found.changes} == {
        "age": None,
        "age_std": None,
        "gender": 0,
        "race": 0,
    }
    assert found.speedup is None


def test_an_age_error_is_measured_in_years(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    found = only(tiny_model, perturb("older.onnx", years=1.1), crops)
    age = next(head for head in found.heads if head.head == "age")
    before = answers_of(tiny_model, crops.pixels)
    after = answers_of(perturb("again.onnx", years=1.1), crops.pixels)
    mae = [float(np.abs(said.age - crops.labels.age).mean()) for said in (before, after)]
    assert (age.reference, age.candidate) == pytest.approx(mae, abs=1e-6)
    assert age.loss.mean == pytest.approx(mae[1] - mae[0], abs=1e-6)
    assert age.loss.n == FACES
    moved = next(change for change in found.changes if change.output == "age")
    assert moved.largest == pytest.approx(float(before.age.max()) * 0.1, rel=1e-3)
    assert moved.p50 == pytest.approx(float(np.median(before.age)) * 0.1, rel=1e-2)
    edges, counts = found.age_changes_years
    assert len(edges) == len(counts) + 1
    assert sum(counts) == FACES
    assert counts[-1] > 0, "what lies beyond the last edge is in the last bin"


def test_a_loss_shows_in_the_group_it_hurts(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    found = only(tiny_model, perturb("paler.onnx", gender_weights=PALER), crops)
    gender = {group.group: group.loss for group in found.groups if group.head == "gender"}
    assert gender["female"].mean > 10
    assert gender["female"].low > 1
    assert gender["male"].mean == 0
    worst = found.worst("points")
    assert worst is not None
    assert (worst.head, worst.group.split()[0]) in {("gender", "female"), ("gender", "50-59"), ("gender", "60-69")}
    flips = next(change.flips for change in found.changes if change.output == "gender")
    assert flips == pytest.approx(gender["female"].mean / 100 * gender["female"].n / FACES)


def test_groups_below_the_limit_are_counted_but_not_judged(
    tiny_model: Path, perturb: Perturb, crops: LabelledCrops
) -> None:
    report = compare(tiny_model, [perturb("copy.onnx")], crops, latency_s=0, group_faces=100, threads=1)
    assert {group.group for group in report.candidates[0].groups} == {"male", "female", "White"}
    everything = compare(tiny_model, [perturb("copy.onnx")], crops, latency_s=0, group_faces=1, threads=1)
    assert everything.small_groups == 0
    assert report.small_groups == len({group.group for group in everything.candidates[0].groups}) - 3


def test_age_intervals_stand_in_for_ages(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    bands = Labels(np.full(FACES, np.nan), crops.labels.bands(), crops.labels.gender, np.full(FACES, -1))
    found = only(tiny_model, perturb("older.onnx", years=1.3), dataclasses.replace(crops, labels=bands))
    assert [head.head for head in found.heads] == ["age_interval", "gender"]
    assert found.heads[0].unit == "points"
    assert found.heads[0].loss.mean > 20


def test_answers_that_are_no_numbers_are_counted(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    broken = perturb("nan.onnx", years=float("nan"))
    found = only(tiny_model, broken, crops)
    assert (found.not_finite, found.heads, found.groups) == (FACES, (), ())
    with pytest.raises(DataError, match="answers with NaN or infinity, so it is no reference"):
        compare(broken, [tiny_model], crops)


def test_latency_is_measured_against_the_reference(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    report = compare(tiny_model, [perturb("a.onnx"), perturb("b.onnx")], crops, latency_s=0.02)
    assert report.bench is not None
    assert [Path(row.artefact).name for row in report.bench.rows] == ["tiny.onnx", "a.onnx", "b.onnx"]
    for candidate, row in zip(report.candidates, report.bench.rows[1:]):
        assert candidate.speedup == report.bench.speedup(row)


def test_an_artefact_that_must_be_simulated_is_not_timed(
    tiny_model: Path, perturb: Perturb, crops: LabelledCrops, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate, opened = perturb("a.onnx"), []
    monkeypatch.setattr("edgeface.parity.attribute_parity.needs_simulation", lambda spec: spec.name == "tiny-int8")
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(candidate))
    onnx.helper.set_model_props(model, {"edgeface.spec": tiny_spec(name="tiny-int8").to_json()})
    onnx.save(model, str(candidate))

    def watched(path: Path, threads: int = 0, simulate: bool = False) -> object:
        opened.append((Path(path).name, simulate))
        return open_backend(path, threads, simulate)

    monkeypatch.setattr("edgeface.parity.attribute_parity.open_backend", watched)
    report = compare(tiny_model, [candidate], crops, latency_s=0.02)
    assert opened == [("tiny.onnx", False), ("a.onnx", True)]
    assert report.candidates[0].simulated
    assert report.candidates[0].speedup is None
    assert report.bench is None


def test_the_json_is_whole_and_repeats(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    candidate = perturb("older.onnx", years=1.1)
    reports = [compare(tiny_model, [candidate], crops, seed=3, latency_s=0).to_dict() for _ in range(2)]
    assert reports[0] == reports[1]
    figures = json.loads(json.dumps(reports[0], allow_nan=False))
    assert (figures["faces"], figures["seed"], figures["bench"]) == (FACES, 3, None)
    entry = figures["candidates"][0]
    assert (entry["candidate"], entry["sha256"]) == (str(candidate), sha256_file(candidate))
    assert set(entry["heads"]) == {"age", "gender", "race"}
    assert entry["worst_group"]["years"]["loss"]["low"] > 0
    json.dumps(compare(tiny_model, [perturb("nan.onnx", years=float("nan"))], crops).to_dict(), allow_nan=False)


def test_models_of_another_input_cannot_be_compared(
    tiny_model: Path, tiny_detector: Path, crops: LabelledCrops, tmp_path: Path
) -> None:
    wider = write_tiny_model(tmp_path / "wider.onnx", tiny_spec(input_size=64).to_json())
    with pytest.raises(ConfigError, match="wants 64 px crops, `.*tiny.onnx` 32 px ones"):
        compare(tiny_model, [wider], crops)
    with pytest.raises(SpecError, match="it is a face detector, not an attribute network"):
        compare(tiny_model, [tiny_detector], crops)
    with pytest.raises(ConfigError, match="no candidate to compare"):
        compare(tiny_model, [], crops)


def test_faces_without_labels_cannot_judge(tiny_model: Path, perturb: Perturb, crops: LabelledCrops) -> None:
    unknown = Labels(np.full(FACES, np.nan), *(np.full(FACES, -1) for _ in range(3)))
    with pytest.raises(DataError, match="no face has a label"):
        compare(tiny_model, [perturb("a.onnx")], dataclasses.replace(crops, labels=unknown), latency_s=0)


def test_the_shipped_network_with_damaged_weights(shared: Path, tmp_path: Path) -> None:
    """Weights rounded to few bits, on real faces: small where there are many bits, large where there are few."""
    onnx = pytest.importorskip("onnx", reason="the extra `dev` is not installed")
    reference, candidates = shipped_model("attributes.onnx"), []
    for bits in (10, 3):
        model = onnx.load(str(reference))
        for weight in model.graph.initializer:
            value = onnx.numpy_helper.to_array(weight)
            if value.dtype == np.float32 and value.ndim == 4:
                step = np.abs(value).max() / 2 ** (bits - 1)
                weight.CopyFrom(onnx.numpy_helper.from_array(np.rint(value / step) * step, weight.name))
        onnx.save(model, str(tmp_path / f"{bits}.onnx"))
        candidates.append(tmp_path / f"{bits}.onnx")
    with AttributeEstimator(reference, threads=1) as estimator:
        data = thinned(find_faces([shared / "data" / "utkface"], None, {1}), 80)
        crops = labelled_crops(data, estimator.spec)
        figures = estimator.from_crops(crops.pixels)
    fine, coarse = compare(reference, candidates, crops, latency_s=0, threads=1).candidates
    assert fine.heads[0].reference == pytest.approx(float(np.abs(figures.age - crops.labels.age).mean()), abs=1e-3)
    assert abs(fine.heads[0].loss.mean) < 0.5
    assert coarse.changes[0].p50 > 10 * fine.changes[0].p50
    assert coarse.heads[0].loss.mean > 1


def test_an_artefact_of_another_machine_is_judged_but_not_timed(
    tiny_model: Path, perturb: Perturb, crops: LabelledCrops
) -> None:
    onnx = pytest.importorskip("onnx")
    candidate = perturb("trt.onnx")
    model = onnx.load(str(candidate))
    precision = PrecisionSpec("fp16", "fp16", "tensorrt")
    spec = dataclasses.replace(tiny_spec(), precision=precision)
    onnx.helper.set_model_props(model, {"edgeface.spec": spec.to_json()})
    onnx.save(model, str(candidate))
    (judged,) = (report := compare(tiny_model, [candidate], crops, latency_s=0.02)).candidates
    assert judged.elsewhere and judged.speedup is None and report.bench is None
    assert judged.heads
