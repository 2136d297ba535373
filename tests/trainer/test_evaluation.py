"""What is measured, against figures counted by hand, and the six causes of trouble."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeface.evaluation.labelled_crops import LabelledCrops
from edgeface.evaluation.metrics import Answers, Labels
from edgeface.spec.model import GENDERS, ModelSpec
from edgeface.types import Attributes
from tests.fixtures import SIZE, tiny_spec
from trainer.evaluation.calibration_metrics import honesty
from trainer.evaluation.fairness import FEWEST, differences, fairness, spread
from trainer.evaluation.judge import judge
from trainer.evaluation.robustness import CAUSES, STRENGTHS, distorted
from trainer.evaluation.scores import age_group, age_group_chances, age_scores, auc, class_scores, harmonic_score

NAN = math.nan


def one_hot(codes: list[int], classes: int) -> NDArray[np.float64]:
    return np.asarray(np.eye(classes)[codes])


def no_one(count: int) -> Labels:
    return Labels(np.full(count, NAN), np.full(count, -1), np.full(count, -1), np.full(count, -1))


def test_ages_by_hand() -> None:
    labels = Labels(np.array([10.0, 20, 64, NAN]), np.array([-1, -1, -1, 3]), np.full(4, -1), np.full(4, -1))
    said = Attributes(np.array([13.0, 20, 60, 31]), np.ones(4), one_hot([0] * 4, 2), one_hot([0] * 4, 5))
    found = age_scores(said, labels)
    assert found["mae"] == pytest.approx(7 / 3) and found["bias"] == pytest.approx(-1 / 3)
    assert found["rmse"] == pytest.approx(math.sqrt(25 / 3))
    assert found["r2"] == pytest.approx(1 - 25 / np.sum((np.array([10, 20, 64]) - 94 / 3) ** 2))
    assert [found["cs"][years] for years in (0, 2, 3, 4)] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1])
    assert found["bands"]["60-69"] == {"n": 1, "mae": 4.0, "bias": -4.0} and "30-39" not in found["bands"]
    assert found["interval_accuracy"] == 0 and found["interval_within1"] == 1


def test_classes_by_hand() -> None:
    chances = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8], [0.5, 0.5]])
    found = class_scores(chances, np.array([0, 1, 1, 1, -1]), GENDERS)
    assert found["n"] == 4 and found["accuracy"] == 0.75 and found["confusion"] == [[1, 0], [1, 2]]
    male, female = found["classes"]["male"], found["classes"]["female"]
    assert (male["precision"], male["recall"], male["f1"]) == pytest.approx((0.5, 1, 2 / 3))
    assert (female["precision"], female["recall"], female["f1"]) == pytest.approx((1, 2 / 3, 0.8))
    assert found["f1"] == pytest.approx((2 / 3 + 0.8) / 2) and found["auc"] == 1


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_auc_is_how_often_a_positive_scores_higher(rows: list[tuple[int, bool]]) -> None:
    score, positive = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    pairs = [(hit > miss) + (hit == miss) / 2 for hit in score[positive] for miss in score[~positive]]
    assert auc(score, positive) == pytest.approx(np.mean(pairs) if pairs else NAN, nan_ok=True)


def test_six_age_groups() -> None:
    assert age_group(np.array([0, 4.9, 5, 14, 15, 24, 25, 44, 45, 64, 65, 116, NAN])).tolist() == [
        0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, -1,
    ]  # fmt: skip
    said = Attributes(np.array([30.0, 5.0, NAN]), np.array([2.0, 3, NAN]), one_hot([0] * 3, 2), one_hot([0] * 3, 5))
    chances = age_group_chances(said)
    assert chances[:2].sum(axis=1) == pytest.approx([1, 1]) and chances[0].argmax() == 3
    assert chances[1, :2] == pytest.approx([0.5, 0.5], abs=0.01) and np.isnan(chances[2]).all()


def test_the_harmonic_score_by_hand() -> None:
    labels = Labels(np.array([0.0, 100]), np.full(2, -1), np.array([0, 1]), np.full(2, -1))
    found = harmonic_score(Answers(np.array([20.0, 80]), np.array([0, 1]), np.full(2, -1)), labels)
    assert found == pytest.approx({"age_score": 0.8, "gender_f1": 1.0, "score": 1.6 / 1.8})
    hopeless = harmonic_score(Answers(np.array([300.0, -200]), np.array([1, 0]), np.full(2, -1)), labels)
    assert hopeless["age_score"] == 0 and hopeless["score"] == 0
    assert math.isnan(harmonic_score(Answers(np.ones(2), np.zeros(2), np.zeros(2)), no_one(2))["score"])


def test_equalised_odds_and_parity_by_hand() -> None:
    # group a: females hit 30 of 40, males called female 0 of 40; group b: 40 of 40 and 10 of 40
    true = np.array(([1] * 40 + [0] * 40) * 2)
    said = np.array([1] * 30 + [0] * 10 + [0] * 40 + [1] * 40 + [1] * 10 + [0] * 30)
    rows = np.arange(160)
    found = differences(said, true, 2, {"a": rows < 80, "b": rows >= 80})
    assert found == pytest.approx(
        {"equalised_odds": 0.25, "demographic_parity": 50 / 80 - 30 / 80, "demographic_parity_labels": 0.0}
    )


def test_gaps_between_groups_and_small_ones_left_out() -> None:
    count = 2 * FEWEST + 5
    race = np.array([0] * FEWEST + [1] * FEWEST + [4] * 5)
    labels = Labels(np.full(count, 30.0), np.full(count, -1), np.zeros(count, int), race)
    answers = Answers(np.where(race == 1, 36.0, 31.0), (race == 4).astype(int), np.zeros(count, int))
    found = fairness(answers, labels)
    assert set(found["race"]["groups"]) == {"White", "Black"}
    assert found["race"]["gaps"]["age_mae"] == pytest.approx(5) and found["race"]["gaps"]["race_accuracy"] == 1
    assert found["race"]["gender"]["equalised_odds"] == 0 and "race" not in found["race"]
    assert math.isnan(found["gender"]["gaps"]["age_mae"])
    assert math.isnan(spread([1.0])) and spread([1.0, NAN, 3.0]) == 2


def test_honest_and_boastful_answers() -> None:
    count = 400
    rng = np.random.default_rng(0)
    gender = np.array([0, 1] * (count // 2))
    labels = Labels(rng.normal(40, 5, count), np.full(count, -1), gender, np.full(count, -1))
    sure = np.where(np.arange(count) % 10 == 0, 1 - gender, gender)  # right nine times in ten
    chances = np.where(one_hot(list(sure), 2) == 1, 0.9, 0.1)
    std = np.where(gender == 0, 5.0, 0.01)
    found = honesty(Attributes(np.full(count, 40.0), std, chances, np.full((count, 5), NAN)), labels)
    assert found["gender"]["ece"] == pytest.approx(0, abs=1e-6) and math.isnan(found["race"]["ece"])
    groups = found["age"]["groups"]["gender"]
    assert groups["male"] == pytest.approx(0.9, abs=0.05) and groups["female"] < 0.05
    boast = honesty(Attributes(np.full(count, 40.0), std, one_hot(list(sure), 2), np.full((count, 5), NAN)), labels)
    assert boast["gender"]["ece"] == pytest.approx(0.1)


@pytest.fixture(scope="module")
def crop() -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    picture = np.add.outer(np.arange(64), np.arange(64))[..., None] + rng.integers(0, 120, (64, 64, 3))
    return np.asarray(picture[None].repeat(2, axis=0), np.uint8)


@pytest.mark.parametrize("cause", sorted(CAUSES))
def test_a_cause_distorts_more_the_stronger_and_always_the_same(cause: str, crop: NDArray[np.uint8]) -> None:
    before = crop.copy()
    changes = []
    for strength in STRENGTHS:
        after = distorted(crop, cause, strength)
        assert after.dtype == np.uint8 and after.shape == crop.shape
        assert (after == distorted(crop, cause, strength)).all()
        changes.append(float(np.abs(after.astype(int) - crop).mean()))
    assert (crop == before).all() and 0.5 < changes[0] < changes[1] < changes[2]


def test_low_light_is_dark_and_occlusion_covers_what_it_says() -> None:
    grey = np.full((8, 64, 64, 3), 200, np.uint8)
    assert distorted(grey, "low light", 3).mean() == pytest.approx(200 * 0.06, abs=1.5)
    covered = (distorted(grey, "occlusion", 2) != 200).any(axis=3).mean(axis=(1, 2))
    assert covered == pytest.approx(0.16, abs=0.02)


class Brightness:
    """Sees an older person in a brighter crop; has no race head."""

    spec: ModelSpec = tiny_spec()

    def from_crops(self, crops: NDArray[np.uint8]) -> Attributes:
        level = crops.mean(axis=(1, 2, 3))
        return Attributes(
            level / 3,
            np.full(len(crops), 5.0),
            one_hot((level > 120).astype(int).tolist(), 2),
            np.full((len(crops), 5), NAN),
        )


def labelled(count: int = 80) -> LabelledCrops:
    levels = np.linspace(0, 240, count).astype(np.uint8)
    pixels = np.broadcast_to(levels[:, None, None, None], (count, SIZE, SIZE, 3)).copy()
    labels = Labels(levels / 3.0, np.full(count, -1), (levels > 120).astype(int), np.arange(count) % 5)
    return LabelledCrops(pixels, labels, tuple(map(str, levels)), np.ones(count, bool), (), ())


def test_everything_at_once_and_nothing_wrong_for_an_absent_head() -> None:
    found = judge(Brightness(), labelled(), robust=20)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["age"]["mae"] == pytest.approx(0, abs=0.01) and found["gender"]["accuracy"] == 1
    assert found["race"]["accuracy"] is None and found["race"]["n"] == 0 and found["race"]["classes"] == {}
    assert found["honesty"]["race"] == {"ece": None, "bins": []}
    dark = found["robustness"]["causes"]["low light"]["figures"]["age_mae"]
    assert found["robustness"]["n"] == 20 and dark[0] < dark[1] < dark[2]
    assert found["robustness"]["clean"]["race_accuracy"] is None
    assert "robustness" not in judge(Brightness(), labelled())
