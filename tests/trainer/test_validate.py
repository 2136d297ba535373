"""Which epoch's weights are kept: every task counts, so does every data set."""

import pytest

pytest.importorskip("torch", reason="no PyTorch here: pip install -e '.[train]'")

from trainer.validate import penalty

BEST = {"gender_accuracy": 0.95, "race_accuracy": 0.85, "age_interval_within1": 0.9, "age_mae": 4.0}


@pytest.mark.parametrize(
    ("figure", "value", "worse_by"),
    [
        ("gender_accuracy", 0.90, 0.05),
        ("race_accuracy", 0.80, 0.05),
        ("age_interval_within1", 0.8, 0.1),
        ("age_mae", 6.0, 0.2),
    ],
)
def test_every_task_counts(figure: str, value: float, worse_by: float) -> None:
    assert penalty({"a": BEST | {figure: value}}) - penalty({"a": BEST}) == pytest.approx(worse_by)


def test_every_data_set_counts_and_what_is_not_known_does_not() -> None:
    assert penalty({"a": BEST, "b": BEST}) == pytest.approx(2 * penalty({"a": BEST}))
    assert penalty({"a": BEST | {"race_accuracy": float("nan")}}) == pytest.approx(penalty({"a": BEST}) - 0.15)
    assert penalty({"a": {"age_mae": 4.0}}) == pytest.approx(0.4)
